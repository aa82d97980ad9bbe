-- Reads single reservations, and writes changes of them and of their users' counts.
local KNOWN = {held = true, confirmed = true, cancelled = true, expired = true,
  refunded = true}
local units_of, touched = {}, {}

-- The details of a reservation after user and key, in their order: see sale/details.rs. Nothing if
-- they are not as we write them.
local DETAILS = {'asked', 'first', 'lines', 'made', 'note'}
local DETAIL_MIN = {asked = 1, first = 0}
local DETAIL_MAX = {asked = QUANTITY_MAX, first = TIME_MS_MAX}

local function details_text(details)
  local pieces = {}
  for _, name in ipairs(DETAILS) do
    local value = details[name]
    if type(value) == 'number' then value = format('%d', value) end
    if value then pieces[#pieces + 1] = '\t' .. name .. '=' .. value end
  end
  return concat(pieces)
end

local function parse_details(text)
  local details = {}
  for name, value in string.gmatch(text, '\t(%l+)=([^\t]+)') do
    if name == 'lines' or name == 'made' then
      if not parse_lines(value) then return end
    elseif DETAIL_MAX[name] then
      value = integer(value, nil, DETAIL_MIN[name], DETAIL_MAX[name])
      if not value then return end
    end
    details[name] = value
  end
  if details_text(details) == text then return details end
end

-- Parses a text from one character to another: status, quantity, deadline, user ('' if anonymous;
-- not parsed if the sale bounds nothing per user), details if there are any, and where the owner
-- ends. Nothing if it is no reservation.
local function parse(text, from, to)
  local _, at, status, quantity, deadline = find(text, '^(%l+) (%d+) (%d+)', from)
  if not KNOWN[status] then return end
  quantity = integer(quantity, nil, 1, QUANTITY_MAX)
  deadline = integer(deadline, nil, 0, TIME_MS_MAX)
  if not quantity or not deadline then return end
  if at == to then return status, quantity, deadline, '', nil, at end
  local _, user_end = find(text, '^ [^\t\n]*', at + 1)
  local _, owner_end = find(text, '^\t?[^\t\n]*', (user_end or at) + 1)
  if not user_end or to == at + 1 then return end
  local details
  if owner_end < to then
    details = parse_details(sub(text, owner_end + 1, to))
    if not details then return end
  elseif owner_end > to or byte(text, to) == 9 then
    return
  end
  return status, quantity, deadline, (limit > 0 or user_max > 0) and sub(text, at + 2, user_end) or '', details, owner_end
end

local function refuse_line(line)
  return refuse('a line of ' .. RESERVATIONS .. ' is no reservation: ' .. line)
end

-- The lines of a reservation of this quantity in a sale with ticket types. Nothing if it has none,
-- of types that the sale lacks, or of another quantity.
local function lines_of(details, quantity)
  local lines, units = parse_lines(details and details.lines or '')
  if units ~= quantity then return end
  for _, line in ipairs(lines) do
    if not by_type[line[1]] then return end
  end
  return lines
end

local function refuse_type(name)
  return refuse('more units of ' .. name .. ' are to leave ' .. SALE .. ' than by_type says are there. '
    .. REPAIR)
end

-- Reads the units of these users, if the sale has a limit. Returns an error, or nothing.
local function read_users(users)
  if limit == 0 or #users == 0 then return end
  local has = call('HMGET', USERS, unpack(users))
  for i, user in ipairs(users) do
    units_of[user] = integer(has[i], 0, 0, TOTAL_MAX)
    if not units_of[user] then return refuse('a number of units in ' .. USERS .. ' is not one') end
  end
end

-- Adds units to a user, or subtracts them.
local function add_units(user, units)
  if limit > 0 and user ~= '' then
    touched[user] = touched[user] or units_of[user]
    units_of[user] = math.max(units_of[user] + units, 0)
  end
end

-- Writes the changed fields, the new counts and the stream's entry. An increase is counted before
-- the reservation is written, a decrease after it. `raised`: the sale's new format, if it changes.
-- `due`: arguments of ZADD, if a deadline changes. `back`: how many reservations have lost all
-- their units.
local function write(lines, sold_then, held_then, raised, due, back)
  call('XLEN', STREAM)
  local now_text, sold_text = format('%d', now), format('%d', sold_then)
  local more, fewer, gone = {}, {}, {}
  for user, before in pairs(touched) do
    local set = units_of[user] > before and more or fewer
    if units_of[user] > 0 then
      set[#set + 1] = user
      set[#set + 1] = format('%d', units_of[user])
    else
      gone[#gone + 1] = user
    end
  end
  if #gone > 0 then needs('HDEL', USERS, 'a') end
  needs('XADD', STREAM, '*', 'at_ms', '0')
  if due then
    call('ZRANGE', DEADLINES, 0, 0)
    needs('ZADD', DEADLINES, '0', 'a')
  end
  -- A version that can't read what follows must know it before.
  if raised then call('HSET', SALE, 'format', raised) end
  if due then call('ZADD', DEADLINES, unpack(due)) end
  local raised_types, has_more
  if types then raised_types, has_more = by_type_text(true) end
  if has_more then call('HSET', SALE, 'by_type', raised_types) end
  if sold_then > sold then call('HSET', COUNTERS, SOLD_FIELD, sold_text) end
  if #more > 0 then call('HSET', USERS, unpack(more)) end
  call('HSET', RESERVATIONS, unpack(changed_fields()))
  if #fewer > 0 then call('HSET', USERS, unpack(fewer)) end
  if #gone > 0 then call('HDEL', USERS, unpack(gone)) end
  call('XADD', STREAM, '*', 'at_ms', now_text, 'reservations', lines)
  local of_sale = {'held', format('%d', held_then), 'confirmed', format('%d', sold_then - held_then),
    'last_ms', now_text}
  if back ~= 0 then
    of_sale[#of_sale + 1] = 'returned'
    of_sale[#of_sale + 1] = format('%d', math.max(returned + back, 0))
  end
  if types then
    of_sale[#of_sale + 1] = 'by_type'
    of_sale[#of_sale + 1] = (by_type_text())
  end
  call('HSET', SALE, unpack(of_sale))
  if sold_then < sold then call('HSET', COUNTERS, SOLD_FIELD, sold_text) end
  sold, held = sold_then, held_then
  free = math.max(total - sold, 0)
end

local function refuse_held(units)
  return refuse('more units are to leave ' .. SALE .. ' than it says are held: '
    .. format('%d and %d', units, held))
end
