-- empty: forget that lanes may hold something to lease, unless they do. ARGV: their names.

for _, lane in ipairs(ARGV) do
  if not is_ready(lane) then call('SREM', K .. 'lanes:ready', lane) end
end
