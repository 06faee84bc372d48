-- note: keep a running job's progress. ARGV: epoch, fence, id, text. Returns 1 while the lease is ours.

local epoch = ARGV[1]
if not call('ZSCORE', K .. 'epochs', epoch) then return 0 end
if call('HEXISTS', K .. 'lease:' .. epoch .. ':' .. ARGV[2], ARGV[3]) == 0 then return 0 end
insist()
call('HSET', K .. 'progress', ARGV[3], ARGV[4])
return 1
