-- A place of a split sale receives the units that the place of the number ARGV[4] has sent it,
-- which are ARGV[5] in all so far: those that it received before are not received again.
if not known then return {now, -1} end
local from = tonumber(ARGV[4])
if not parts or from > parts then return {now, free, 'not_split'} end
local name = 'took_' .. ARGV[4]
local took = integer(call('HGET', SALE, name), 0, 0, MOVED_MAX)
if not took then return refuse(name .. ' of ' .. SALE .. ' is no number of units') end
local units = math.max(math.min(tonumber(ARGV[5]), MOVED_MAX) - took, 0)
if units > TOTAL_MAX - total then return {now, free, 'total_too_large'} end
if units > 0 then
  total = total + units
  call('HSET', SALE, name, format('%d', took + units), 'last_ms', format('%d', now))
  call('HSET', COUNTERS, TOTAL_FIELD, format('%d', total))
end
return {now, math.max(total - sold, 0), 'took', units}
