# Sidekiq: one process with 10 threads, enqueued with `push_bulk`, its log off.
# The clock is that of tally.py: from the first to the last call of `perform`.

require "json"
require "sidekiq"

JOBS = Integer(ENV.fetch("NOOP_JOBS"))
TEXT = "x" * (200 - '{"text":""}'.size)

class Noop
  include Sidekiq::Worker
  LOCK = Mutex.new

  class << self
    attr_accessor :first, :last, :calls
  end
  self.calls = 0

  def perform(_text)
    now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    LOCK.synchronize do
      Noop.first ||= now
      Noop.last = now
      Noop.calls += 1
      Noop.report if Noop.calls == JOBS
    end
  end

  def self.report
    seconds = calls.zero? ? 0.000001 : [last - first, 0.000001].max
    settings = { concurrency: 10 }
    puts JSON.generate(version: Sidekiq::VERSION, runtime: "Ruby #{RUBY_VERSION}", seconds: seconds,
                       task_calls: calls, settings: settings)
    $stdout.flush
    Process.exit!(0)
  end
end

if Sidekiq.server?
  Sidekiq.logger.level = Logger::ERROR
  Thread.new { sleep Float(ENV.fetch("NOOP_SECONDS")); Noop.report }
else
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  if ENV["NOOP_SINGLE"]
    JOBS.times { Noop.perform_async(TEXT) }
  else
    JOBS.times.each_slice(1000) { |s| Sidekiq::Client.push_bulk("class" => Noop, "args" => s.map { [TEXT] }) }
  end
  took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
  puts JSON.generate(enqueue_seconds: took)
end
