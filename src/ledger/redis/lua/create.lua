-- Creates the sale if it does not exist: ARGV[4] on are total, hold_ms, opens_at_ms, closes_at_ms,
-- limit_per_user, quantity_max; how the sale is split, or empty; and the number of this creation,
-- which a part has from its head and any other sale from Redis' clock, if it is empty. Then
-- extend_max_ms, quantity_min, reservations_max and reservations_per_user_max, empty if they are
-- all at their defaults and there are no ticket types, that of the reservations also if it alone
-- is; and the types, empty if there are none.
--
-- Never changes an existing sale, except a part that an earlier creation has left and that was
-- never sent units: it becomes part of this creation.
local given = tonumber(ARGV[11])

local function is_untouched()
  if total > 0 or sold > 0
    or call('EXISTS', RESERVATIONS, CLAIMS, USERS, DEADLINES, STREAM) > 0 then
    return false
  end
  local moves = {}
  for n = 0, parts do
    moves[#moves + 1] = 'gave_' .. n
    moves[#moves + 1] = 'took_' .. n
  end
  for _, units in ipairs(call('HMGET', SALE, unpack(moves))) do
    if units and units ~= '0' then return false end
  end
  return true
end

if known and not (given and parts and given > creation and is_untouched()) then return view('sale') end
if not known
  and call('EXISTS', SALE, RESERVATIONS, CLAIMS, USERS, DEADLINES, STREAM) > 0 then
  return refuse('the hash ' .. COUNTERS .. ' is gone, but not all of its sale: restore it, or begin '
    .. 'the sale anew: stampede sale reset SALE --total N --force')
end
total, hold, opens, closes, limit, quantity_max = tonumber(ARGV[4]), tonumber(ARGV[5]),
  tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
sold, held, returned, creation = 0, 0, 0, given or micros or 0
extend_max, quantity_min, reservations_max, user_max = tonumber(ARGV[12]) or EXTEND_MAX_MS_DEFAULT,
  tonumber(ARGV[13]) or 1, tonumber(ARGV[14]) or false, tonumber(ARGV[15]) or 0
-- A version that would sell against them must know of them before there is anything to sell. Those
-- of an earlier creation are removed.
if known and sale_format >= FORMAT_RULES then
  needs('HSET', SALE, 'a', 'b')
  call('HDEL', SALE, 'extend_max_ms', 'quantity_min', 'reservations_max', 'made',
    'reservations_per_user_max', 'types', 'by_type', 'split', 'format')
end
if ARGV[12] ~= '' then
  call('HSET', SALE, 'split', split_unread(ARGV[10] ~= '' and ARGV[10]), 'format', FORMAT_RULES,
    'extend_max_ms', ARGV[12], 'quantity_min', ARGV[13],
    'reservations_per_user_max', ARGV[15])
  if reservations_max then call('HSET', SALE, 'reservations_max', ARGV[14]) end
end
types, type_names = nil, nil
if ARGV[16] ~= '' then
  read_types(ARGV[16], '')
  call('HSET', SALE, 'types', types, 'by_type', (by_type_text()))
end
if ARGV[10] ~= '' then
  split, parts = ARGV[10], tonumber(string.match(ARGV[10], '%d+'))
  is_head = string.sub(split, 1, 4) == 'into'
  if ARGV[12] == '' then call('HSET', SALE, 'split', split) end
  -- The units of all places together, for an audit: no transfer changes them.
  if is_head then call('HSET', SALE, 'stock', ARGV[4]) end
end
-- begin.lua has recorded that of a sale which was there.
if epoch then call('HSET', SALE, 'epoch', format('%d', epoch)) end
if creation > 0 then call('HSET', SALE, 'creation', format('%d', creation)) end
call('HSET', SALE, 'held', '0', 'hold_ms', ARGV[5], 'opens_at_ms', ARGV[6], 'closes_at_ms', ARGV[7],
  'limit_per_user', ARGV[8], 'quantity_max', ARGV[9], 'last_ms', format('%d', now))
call('HSET', COUNTERS, TOTAL_FIELD, ARGV[4], SOLD_FIELD, '0')
return view('created')
