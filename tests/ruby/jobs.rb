# The Ruby side of these tests: what its jobs do goes into a ledger, one line each.
require "json"
require "sidekiq"
require "active_job"
require "global_id"

def ledger(*words)
  File.open(File.join(ENV.fetch("TURNOUT_TEST_FOLDER"), "ledger"), "a") { |file| file.write(JSON.generate(words) + "\n") }
end

# A record that Active Job can name, without a database.
class Guest
  include GlobalID::Identification
  attr_reader :id

  def initialize(id)
    @id = id
  end

  def self.find(id)
    new(id)
  end
end

GlobalID.app = "hotel"
ActiveJob::Base.queue_adapter = :sidekiq
ActiveJob::Base.logger = Logger.new(IO::NULL)

class RubyJob
  include Sidekiq::Worker
  sidekiq_options queue: "ruby"

  def perform(number, text, options = {})
    ledger("RubyJob", number, text, options, jid)
  end
end

class BrokenJob
  include Sidekiq::Worker
  sidekiq_options queue: "ruby", backtrace: true

  sidekiq_retry_in { 1_000 }

  def perform(order)
    ledger("BrokenJob", order)
    raise ArgumentError, "no such order: #{order}"
  end
end

# It lives in Python: Ruby only enqueues.
class HardJob
  include Sidekiq::Worker
  sidekiq_options queue: "python"
end

class CleanupJob < ActiveJob::Base
  queue_as :ruby

  def perform(guest, at:, **more)
    ledger("CleanupJob", guest.class.name, guest.is_a?(Guest) ? guest.id : guest,
           at.class.name, at.iso8601, more.transform_values { |one| [one.class.name, one.to_s] })
  end
end

class PythonCleanupJob < ActiveJob::Base
  queue_as :python
end
