-- Takes ARGV[4] free units out of the total; if ARGV[5] is 1 and fewer are free, takes those.
--
-- Reply, beside that of view.lua: 'stock_taken', then the units before the view; 'too_few_free',
-- and their number.
if not known then return {now, -1} end
local units = tonumber(ARGV[4])
if ARGV[5] == '1' then units = math.min(units, free) end
if units > free then return {now, free, 'too_few_free', free} end
if units > 0 then
  total = total - units
  call('HSET', SALE, 'last_ms', format('%d', now))
  call('HSET', COUNTERS, TOTAL_FIELD, format('%d', total))
  -- The sum last: if the script ends between the two writes, there are fewer units than noted, and
  -- an audit finds it.
  local stock = is_head and integer(call('HGET', SALE, 'stock'), nil, 0, MOVED_MAX)
  if stock then call('HSET', SALE, 'stock', format('%d', math.max(stock - units, 0))) end
end
local reply = view('stock_taken')
if not reply.err then table.insert(reply, 4, units) end
return reply
