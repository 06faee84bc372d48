-- pause: stop or resume leasing from a queue. ARGV: queue, 1 or 0. Everybody looks again afterwards.

insist()
call(ARGV[2] == '1' and 'SADD' or 'SREM', 'paused', ARGV[1])
ring(nil, 100000)
