-- Opens the sale: the opening becomes now if it was later, and a past closing is removed.
if not known then return {now, -1} end
opens = math.min(opens, now)
if closes <= now then closes = TIME_MS_MAX end
call('HSET', SALE, 'opens_at_ms', format('%d', opens), 'closes_at_ms', format('%d', closes),
  'last_ms', format('%d', now))
return view('sale')
