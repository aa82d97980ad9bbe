-- Resets a sale, as if it had just been created: with the total ARGV[4], or the present one if that is
-- empty, and with its definition, as far as that can be read. Contradictions in its data do not
-- matter. Removes its reservations, claims, users, deadlines and stream. Unless ARGV[5] is 1, it
-- refuses if units are held or confirmed, or if a group that reads the stream has not processed all of
-- it.
--
-- A place of a split sale is only removed: its stock depends on transfers with other places.
--
-- Reply, beside views: 'has_sold' and held and confirmed units; 'total_required'; 'removed'.
local may_forget = ARGV[5] == '1'
if call('EXISTS', unpack(KEYS)) == 0 then return {now, -1} end
local readable = fields_of(SALE, 'held')
if readable.err then return readable end
local all = call('HGETALL', SALE)
local set = {}
for i = 1, #all, 2 do set[all[i]] = all[i + 1] end
local newer = newer_format(set.format)
if newer then return newer end
total = tonumber(ARGV[4]) or integer(counters[1], nil, 0, TOTAL_MAX)
sold, held = integer(counters[2], 0, 0, TOTAL_MAX) or 0, integer(set.held, 0, 0, TOTAL_MAX) or 0
local confirmed = math.max(sold - held, integer(set.confirmed, 0, 0, TOTAL_MAX) or 0)
if not may_forget then
  if held + confirmed > 0 then return {now, 0, 'has_sold', held, confirmed} end
  local group = busy_group()
  if group then
    return refuse('the group ' .. group .. ' has yet to process entries of ' .. STREAM
      .. ': begin the sale anew when it has, or with --force')
  end
end
needs('UNLINK', SALE)
needs('HDEL', SALE, 'a')
needs('HSET', SALE, 'a', 'b')
if set.split and not string.find(set.split, '^format %d+$') then
  call('UNLINK', unpack(KEYS))
  return {now, -1, 'removed'}
end
if not total then return {now, 0, 'total_required'} end

hold = integer(set.hold_ms, nil, 1, HOLD_MS_MAX) or HOLD_MS_DEFAULT
opens = integer(set.opens_at_ms, nil, 0, TIME_MS_MAX) or 0
closes = integer(set.closes_at_ms, nil, 0, TIME_MS_MAX) or TIME_MS_MAX
if closes <= opens then closes = TIME_MS_MAX end -- it was closed before it opened
limit = integer(set.limit_per_user, nil, 0, LIMIT_MAX) or 0
quantity_max = integer(set.quantity_max, nil, 1, QUANTITY_MAX) or QUANTITY_MAX_DEFAULT
extend_max = integer(set.extend_max_ms, nil, 0, HOLD_MS_MAX) or EXTEND_MAX_MS_DEFAULT
quantity_min = integer(set.quantity_min, nil, 1, QUANTITY_MAX) or 1
reservations_max = integer(set.reservations_max, nil, 0, TOTAL_MAX) or false
user_max = integer(set.reservations_per_user_max, nil, 0, LIMIT_MAX) or 0
local has_rules = set.extend_max_ms or set.quantity_min or set.reservations_max
  or set.reservations_per_user_max or set.types
local none_sold = set.types and string.gsub(set.types, '[^,]+', '0:0')
if set.types and not read_types(set.types, none_sold) then
  return refuse('the field types of the hash ' .. SALE .. ' must be as in "adult:60,child:40", not '
    .. set.types .. ': write it as the sale was made')
end
creation = micros or 0
-- The two hashes stay and are overwritten: in a Cluster, a key that a script has emptied can't be
-- written again while its slot is moving.
call('UNLINK', RESERVATIONS, CLAIMS, USERS, DEADLINES, STREAM)
local gone = {'confirmed', 'made', 'returned', 'repairs', 'stream_trimmed', 'stream_retold', 'stock'}
for name in pairs(set) do
  if string.match(name, '^gave_') or string.match(name, '^took_') then gone[#gone + 1] = name end
end
if none_sold then call('HSET', SALE, 'by_type', none_sold) end
if has_rules then
  call('HSET', SALE, 'split', split_unread(), 'format', FORMAT_RULES)
else
  gone[#gone + 1] = 'format'
end
if not reservations_max then gone[#gone + 1] = 'reservations_max' end
call('HDEL', SALE, unpack(gone))
if has_rules then
  call('HSET', SALE, 'extend_max_ms', format('%d', extend_max), 'quantity_min', format('%d', quantity_min),
    'reservations_per_user_max', format('%d', user_max))
  if reservations_max then call('HSET', SALE, 'reservations_max', format('%d', reservations_max)) end
end
call('HSET', SALE, 'held', '0', 'hold_ms', format('%d', hold), 'opens_at_ms', format('%d', opens),
  'closes_at_ms', format('%d', closes), 'limit_per_user', format('%d', limit), 'quantity_max',
  format('%d', quantity_max), 'creation', format('%d', creation), 'last_ms', format('%d', now))
sold, held = 0, 0
call('HSET', COUNTERS, TOTAL_FIELD, format('%d', total), SOLD_FIELD, '0')
return view('sale')
