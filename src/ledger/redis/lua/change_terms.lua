-- Changes the sale's terms from now on: ARGV[4] on are closes_at_ms, hold_ms, limit_per_user,
-- quantity_max, quantity_min, extend_max_ms, reservations_max (`default`: none of its own),
-- reservations_per_user_max, empty where nothing is to change. Applies all of them or none.
--
-- A sale counts what it bounds. So with its first bound of a kind all reservations are counted
-- here, if they are few enough that Redis may block meanwhile.
--
-- Reply, beside that of view.lua: 'closes_too_early' and the opening; 'quantity_max_too_small' and
-- the minimum per reservation; 'quantity_min_too_large' and the maximum; 'bound_of_parts';
-- 'too_many_to_count' and the held and confirmed units.
if not known then return {now, -1} end
local limit_before, user_max_before = limit, user_max
local function is_bounded() return reservations_max and reservations_max > 0 or false end
local was_bounded = is_bounded()
closes = tonumber(ARGV[4]) or closes
if ARGV[4] ~= '' and closes <= opens then return {now, free, 'closes_too_early', opens} end
hold, limit, quantity_max = tonumber(ARGV[5]) or hold, tonumber(ARGV[6]) or limit,
  tonumber(ARGV[7]) or quantity_max
quantity_min, extend_max, user_max = tonumber(ARGV[8]) or quantity_min, tonumber(ARGV[9]) or extend_max,
  tonumber(ARGV[11]) or user_max
if ARGV[10] ~= '' then reservations_max = tonumber(ARGV[10]) or false end
if quantity_min > quantity_max then
  if ARGV[7] ~= '' then return {now, free, 'quantity_max_too_small', quantity_min} end
  if ARGV[8] ~= '' then return {now, free, 'quantity_min_too_large', quantity_max} end
end
if is_bounded() and not was_bounded and parts then return {now, free, 'bound_of_parts'} end

-- The units of each user, and the number of reservations made for each (after a tab), as far as the
-- sale bounds them, and the number of reservations; or nothing, and the reply.
local function count_users()
  local too_many = {now, free, 'too_many_to_count', sold}
  if sold > LIMIT_COUNT_UNITS_MAX then return nil, too_many end
  local has = {}
  local function count(name, number) has[name] = (has[name] or 0) + number end
  local cursor, lines = '0', 0
  repeat
    local page = call('HSCAN', RESERVATIONS, cursor, 'COUNT', '100')
    cursor = page[1]
    for i = 1, #page[2], 2 do
      local name = page[2][i]
      -- While Redis resizes its table, a scan may return a field twice.
      local text = fields[name] and '' or keep(name, page[2][i + 1])
      if endless then return nil, refuse_endless() end
      for line in string.gmatch(text, '[^\n]+') do
        lines = lines + 1
        if lines > LIMIT_COUNT_LINES_MAX then return nil, too_many end
        local id_end = find(line, ' ', 1, true)
        local status, quantity, _, user = parse(line, (id_end or #line) + 1, #line)
        if not status then return nil, refuse_line(line) end
        if user ~= '' and user_max > 0 then count('\t' .. user, 1) end
        if user ~= '' and limit > 0 and (status == 'held' or status == 'confirmed') then
          count(user, quantity)
        end
      end
    end
  until cursor == '0'
  return has, lines
end

-- The names of users that have a number and are to have none.
local function users_but(has)
  local gone, cursor = {}, '0'
  repeat
    local page = call('HSCAN', USERS, cursor, 'COUNT', '1000')
    cursor = page[1]
    for i = 1, #page[2], 2 do
      if not has[page[2][i]] then gone[#gone + 1] = page[2][i] end
    end
  until cursor == '0'
  return gone
end

-- Sets the numbers of these users, and removes those of others. A number that has bounded a user so
-- far is never missing.
local function set_users(has, gone)
  local piece = {}
  local function flush()
    if #piece > 0 then call('HSET', USERS, unpack(piece)) end
    piece = {}
  end
  for name, number in pairs(has) do
    piece[#piece + 1] = name
    piece[#piece + 1] = format('%d', number)
    if #piece == 1000 then flush() end
  end
  flush()
  for i = 1, #gone, 1000 do call('HDEL', USERS, unpack(gone, i, math.min(i + 999, #gone))) end
end

local users_from_now = limit_before == 0 and limit > 0 or user_max_before == 0 and user_max > 0
-- Leftover numbers of one kind are not read while the other kind is still counted.
local users_no_more = limit_before > 0 and limit == 0 or user_max_before > 0 and user_max == 0
local made_from_now = is_bounded() and not was_bounded
local has_rules = extend_max ~= EXTEND_MAX_MS_DEFAULT or quantity_min ~= 1 or reservations_max ~= false
  or user_max > 0 or types
local is_ruled = sale_format >= FORMAT_RULES
if users_from_now or users_no_more then
  needs('UNLINK', USERS)
  needs('HDEL', USERS, 'a')
  needs('HINCRBY', SALE, 'repairs', '1')
end
if is_ruled then needs('HDEL', SALE, 'a') end
needs('HSET', SALE, 'limit_per_user', '0')
local has, counted, gone
if users_from_now or made_from_now then
  has, counted = count_users()
  if not has then return counted end
  if users_from_now then gone = users_but(has) end
end
-- A version that would sell against the rules must know of them before there are any.
if has_rules and not is_ruled then
  call('HSET', SALE, 'split', split_unread(split), 'format', FORMAT_RULES)
end
if users_from_now then
  -- An audit in progress has counted what this script counts again.
  call('HINCRBY', SALE, 'repairs', '1')
  set_users(has, gone)
elseif users_no_more then
  call('HINCRBY', SALE, 'repairs', '1')
end
local set = {'hold_ms', format('%d', hold), 'closes_at_ms', format('%d', closes), 'limit_per_user',
  format('%d', limit), 'quantity_max', format('%d', quantity_max), 'last_ms', format('%d', now)}
local function to(name, number)
  set[#set + 1] = name
  set[#set + 1] = format('%d', number)
end
if has_rules then
  to('extend_max_ms', extend_max)
  to('quantity_min', quantity_min)
  to('reservations_per_user_max', user_max)
  if reservations_max then to('reservations_max', reservations_max) end
  if made_from_now then to('made', counted) end
elseif is_ruled and sale_format == FORMAT_RULES then
  -- It is a plain sale again.
  to('format', FORMAT_PLAIN_MAX)
  if split then
    set[#set + 1] = 'split'
    set[#set + 1] = split
  end
end
-- Before the format: otherwise an end between the two would leave numbers that the next rule counts
-- again.
if is_ruled and not has_rules then
  call('HDEL', SALE, 'extend_max_ms', 'quantity_min', 'reservations_max', 'made',
    'reservations_per_user_max')
end
call('HSET', SALE, unpack(set))
if is_ruled and not has_rules then
  if not split then call('HDEL', SALE, 'split') end
elseif is_ruled and not reservations_max then
  call('HDEL', SALE, 'reservations_max', 'made')
end
if users_no_more and limit == 0 and user_max == 0 then call('UNLINK', USERS) end
return view('sale')
