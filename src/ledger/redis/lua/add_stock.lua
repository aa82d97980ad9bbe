-- Adds ARGV[4] units to the total.
if not known then return {now, -1} end
local units = tonumber(ARGV[4])
if total + units > TOTAL_MAX then return {now, free, 'total_too_large'} end
total = total + units
call('HSET', SALE, 'last_ms', format('%d', now))
-- The sum first: if the script ends between the two writes, there are fewer units than noted, and an
-- audit finds it.
local stock = is_head and integer(call('HGET', SALE, 'stock'), nil, 0, MOVED_MAX)
if stock then call('HSET', SALE, 'stock', format('%d', stock + units)) end
call('HSET', COUNTERS, TOTAL_FIELD, format('%d', total))
return view('sale')
