-- order: leave an order for a worker, where Sidekiq's pages leave their signals. ARGV: epoch, signal.
-- Returns 1, or 0 when the epoch is not open.

if not call('ZSCORE', K .. 'epochs', ARGV[1]) then return 0 end
insist()
local signals = worker_of(ARGV[1]) .. '-signals'
call('LPUSH', signals, ARGV[2])
call('EXPIRE', signals, 60)
return 1
