-- Defines the sale if it does not exist: ARGV[4] on are total, hold_ms, opens_at_ms, closes_at_ms,
-- limit_per_user, quantity_max and, unless it is empty, how the sale is split. Never changes one that
-- does.
if known then return view('sale') end
if call('EXISTS', SALE, RESERVATIONS, CLAIMS, USERS, DEADLINES, STREAM) > 0 then
  return refuse('the hash ' .. COUNTERS .. ' is gone, but not all of its sale: restore it, or '
    .. 'delete ' .. SALE .. ', ' .. RESERVATIONS .. ', ' .. CLAIMS .. ', ' .. USERS .. ', '
    .. DEADLINES .. ' and ' .. STREAM)
end
total, hold, opens, closes, limit, quantity_max = tonumber(ARGV[4]), tonumber(ARGV[5]),
  tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
sold, held = 0, 0
if ARGV[10] ~= '' then
  split, parts = ARGV[10], tonumber(string.match(ARGV[10], '%d+'))
  is_head = string.sub(split, 1, 4) == 'into'
  call('HSET', SALE, 'split', split)
  -- What all places have together, for an audit: no move changes it.
  if is_head then call('HSET', SALE, 'stock', ARGV[4]) end
end
call('HSET', SALE, 'held', '0', 'hold_ms', ARGV[5], 'opens_at_ms', ARGV[6], 'closes_at_ms', ARGV[7],
  'limit_per_user', ARGV[8], 'quantity_max', ARGV[9], 'last_ms', format('%d', now))
call('HSET', COUNTERS, TOTAL_FIELD, ARGV[4], SOLD_FIELD, '0')
return view('created')
