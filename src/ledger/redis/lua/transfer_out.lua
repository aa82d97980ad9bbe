-- A place of a split sale sends up to ARGV[6] of its free units to the place of the number ARGV[4],
-- if it has sent it ARGV[5] in all so far. The units belong to no place until the other one
-- receives them: transfer_in.lua.
if not known then return {now, -1} end
local to = tonumber(ARGV[4])
if not parts or to > parts then return {now, free, 'not_split'} end
local name = 'gave_' .. ARGV[4]
local gave = integer(call('HGET', SALE, name), 0, 0, MOVED_MAX)
if not gave then return refuse(name .. ' of ' .. SALE .. ' is no number of units') end
local units = math.min(tonumber(ARGV[6]), free, MOVED_MAX - gave)
if gave == tonumber(ARGV[5]) and units > 0 then
  gave, free = gave + units, free - units
  call('HSET', COUNTERS, TOTAL_FIELD, format('%d', total - units))
  call('HSET', SALE, name, format('%d', gave), 'last_ms', format('%d', now))
end
return {now, free, 'gave', gave}
