-- Adds ARGV[4] units to the total.
if not known then return {now, -1} end
local units = tonumber(ARGV[4])
if total + units > TOTAL_MAX then return {now, free, 'total_too_large'} end
total = total + units
call('HSET', SALE, 'last_ms', format('%d', now))
call('HSET', COUNTERS, TOTAL_FIELD, format('%d', total))
return view('sale')
