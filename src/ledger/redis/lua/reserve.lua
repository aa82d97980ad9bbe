-- A run of requests for units. The questions come in the order that sale/machine.rs gives.
--
-- ARGV[4] is how many requests; ARGV[5], [6], [7] say behind which argument the columns of claims
-- (user, tab, key), of users and of quantities start, 0 if nobody in the run gives one; ARGV[8] has a
-- 1 for each request that is only to look for its claim, and is empty if there is none; ARGV[9] is 1
-- if all ids begin alike. The column of ids starts at ARGV[10]. Columns, so that each goes to Redis
-- as it came; a claim is also what the line of a reservation made with a key says of its owner.
--
-- Reply: time, units left, deadline, one character an outcome, then what the outcomes need:
--   G granted          R replayed: id, reservation    N not claimed    U user required
--   S sold out         s too few left: units          C closed         O not open: opens_at_ms
--   L limit: limit     Q quantity: maximum
if not known then return {now, -1} end
local count = tonumber(ARGV[4])
local claims_at, users_at, quantities_at =
  tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local claim_only = ARGV[8] ~= '' and ARGV[8]
local has_claims, has_users = claims_at > 0, users_at > 0
local limited = limit > 0

local claimed = has_claims and call('HMGET', CLAIMS, unpack(ARGV, claims_at + 1, claims_at + count))
local users = limited and has_users
  and call('HMGET', USERS, unpack(ARGV, users_at + 1, users_at + count))

local gate = now >= closes and 'C' or now < opens and 'O' or false
local deadline = format('%d', now + hold)
local one = ' held 1 ' .. deadline .. '\n'
local one_of = ' held 1 ' .. deadline .. ' '
local codes, pieces = {}, {}
local claims = has_claims and {}
local granted_by_claim = has_claims and {}
local units_by_user = users and {}
local extras
local pieces_n, claims_n, left = 0, 0, free

local function extra(value)
  extras = extras or {}
  extras[#extras + 1] = value
end

for i = 1, count do
  local claim = has_claims and ARGV[claims_at + i] or ''
  local earlier = claim ~= '' and (claimed[i] or granted_by_claim[claim])
  local quantity = quantities_at > 0 and tonumber(ARGV[quantities_at + i]) or 1
  local user = has_users and ARGV[users_at + i] or ''
  local units
  if limited and user ~= '' then
    units = units_by_user[user] or integer(users[i], 0, 0, TOTAL_MAX)
    if not units then return refuse('a number of units in ' .. USERS .. ' is not one') end
  end
  if earlier then
    codes[i] = 'R'
    extra(earlier)
    extra(false)
  elseif claim_only and string.byte(claim_only, i) == 49 then
    codes[i] = 'N'
  elseif gate then
    codes[i] = gate
    if gate == 'O' then extra(opens) end
  elseif quantity > quantity_max then
    codes[i] = 'Q'
    extra(quantity_max)
  elseif limited and not units then
    codes[i] = 'U'
  elseif limited and units + quantity > limit then
    codes[i] = 'L'
    extra(limit)
  elseif quantity > left then
    codes[i] = left == 0 and 'S' or 's'
    if left > 0 then extra(left) end
  else
    codes[i] = 'G'
    local id = ARGV[9 + i]
    local owner = claim ~= '' and claim or user
    pieces[pieces_n + 1] = id
    pieces_n = pieces_n + 2
    if quantity ~= 1 then
      pieces[pieces_n] = ' held ' .. quantity .. ' ' .. deadline
        .. (owner ~= '' and ' ' .. owner or '') .. '\n'
    else
      pieces[pieces_n] = owner == '' and one or one_of .. owner .. '\n'
    end
    left = left - quantity
    if units then units_by_user[user] = units + quantity end
    if claim ~= '' then
      granted_by_claim[claim] = id
      claims[claims_n + 1], claims[claims_n + 2] = claim, id
      claims_n = claims_n + 2
    end
  end
end

-- What was replayed as it stands: from this run, or from before it.
for i = 1, extras and #extras or 0 do
  if extras[i] == false then
    local text = field(sub(extras[i - 1], 1, PREFIX))
    if endless then return refuse_endless() end
    local from, to = locate(text, extras[i - 1])
    local value = from and sub(text, from, to)
    for j = 1, value and 0 or pieces_n, 2 do
      if pieces[j] == extras[i - 1] then value = sub(pieces[j + 1], 2, -2) end
    end
    if not value then
      return refuse(CLAIMS .. ' names the reservation ' .. extras[i - 1] .. ', which is not in '
        .. RESERVATIONS)
    end
    extras[i] = value
  end
end

if pieces_n > 0 then
  local lines, now_text = concat(pieces), format('%d', now)
  local deadlines = {}
  local function add(name, lines)
    fields[name] = field(name) .. lines
    if not changed[name] then
      changed[name] = true
      deadlines[#deadlines + 1] = deadline
      deadlines[#deadlines + 1] = name .. ':' .. deadline
    end
  end
  if ARGV[9] == '1' then
    add(sub(pieces[1], 1, PREFIX), lines)
  else
    for i = 1, pieces_n, 2 do add(sub(pieces[i], 1, PREFIX), pieces[i] .. pieces[i + 1]) end
  end
  if endless then return refuse_endless() end
  call('ZCARD', DEADLINES)
  call('XLEN', STREAM)
  call('HSET', COUNTERS, SOLD_FIELD, format('%d', sold + free - left))
  call('HSET', SALE, 'held', format('%d', held + free - left), 'last_ms', now_text)
  write_changed()
  if claims_n > 0 then call('HSET', CLAIMS, unpack(claims)) end
  if units_by_user then
    local set = {}
    for user, units in pairs(units_by_user) do
      set[#set + 1] = user
      set[#set + 1] = format('%d', units)
    end
    call('HSET', USERS, unpack(set))
  end
  call('ZADD', DEADLINES, unpack(deadlines))
  call('XADD', STREAM, '*', 'at_ms', now_text, 'reservations', lines)
end

codes = concat(codes)
if extras then return {now, left, now + hold, codes, unpack(extras)} end
return {now, left, now + hold, codes}
