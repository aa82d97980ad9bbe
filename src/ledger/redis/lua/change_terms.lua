-- Changes what the sale sells by from now on: ARGV[4] on are closes_at_ms, hold_ms, limit_per_user,
-- quantity_max, empty where nothing is to change. All of them or none.
--
-- A sale without a limit does not count what each user has, so with its first limit all reservations
-- are counted here, if they are few enough that Redis may stand still for them.
--
-- Reply, beside that of view.lua: 'closes_too_early' and when it opens; 'quantity_max_too_small' and the
-- fewest units of a reservation; 'too_many_to_count' and the
-- units that are held and confirmed.
if not known then return {now, -1} end
local limit_before = limit
closes = tonumber(ARGV[4]) or closes
if ARGV[4] ~= '' and closes <= opens then return {now, free, 'closes_too_early', opens} end
if ARGV[7] ~= '' and tonumber(ARGV[7]) < quantity_min then
  return {now, free, 'quantity_max_too_small', quantity_min}
end
hold, limit, quantity_max = tonumber(ARGV[5]) or hold, tonumber(ARGV[6]) or limit,
  tonumber(ARGV[7]) or quantity_max

-- What each user has, and how many reservations were made for each (behind a tab), as far as the sale
-- bounds it; or nothing, and the reply.
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
      -- While Redis makes its table larger or smaller, a scan may come by a field twice.
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
  return has
end

-- The names of users that have a number and shall have none.
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

-- Gives the users these numbers, and takes away those of others. Those that bound somebody until now are
-- never missing.
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

local counts_from_now = limit_before == 0 and limit > 0
-- Nobody looks at what is left of units where reservations are still counted.
local counts_no_more = limit_before > 0 and limit == 0
if counts_from_now or counts_no_more then
  needs('UNLINK', USERS)
  needs('HDEL', USERS, 'a')
  needs('HINCRBY', SALE, 'repairs', '1')
  needs('HSET', SALE, 'limit_per_user', '0')
end
if counts_from_now then
  local has, reply = count_users()
  if not has then return reply end
  local gone = users_but(has)
  -- An audit under way has counted what is counted anew here.
  call('HINCRBY', SALE, 'repairs', '1')
  set_users(has, gone)
end
if counts_no_more then call('HINCRBY', SALE, 'repairs', '1') end
call('HSET', SALE, 'hold_ms', format('%d', hold), 'closes_at_ms', format('%d', closes),
  'limit_per_user', format('%d', limit), 'quantity_max', format('%d', quantity_max),
  'last_ms', format('%d', now))
if counts_no_more and user_max == 0 then call('UNLINK', USERS) end
return view('sale')
