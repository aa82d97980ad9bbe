-- Closes the sale now.
if not known then return {now, -1} end
closes = math.min(closes, now)
call('HSET', SALE, 'closes_at_ms', format('%d', closes), 'last_ms', format('%d', now))
return view('sale')
