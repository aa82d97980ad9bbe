-- A run of requests for units. The questions come in the order that sale/machine.rs gives.
--
-- ARGV[4] is how many requests; ARGV[5], [6], [7] say behind which argument the columns of claims
-- (user, tab, key), of users and of quantities start, 0 if nobody in the run gives one; ARGV[8] has a
-- 1 for each request that is only to look for its claim, and is empty if there is none; ARGV[9] has
-- the numbers of the requests whose ids do not begin as the one before. The column of ids starts at
-- ARGV[10]. Columns, so that each goes to Redis as it came; a claim is also what the line of a
-- reservation made with a key says of its owner, and where there is a claim the user's column is
-- empty.
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
-- Who asks, and what each has, if the sale has a limit.
local who, users
if limited then
  who = {}
  for i = 1, count do
    who[i] = has_claims and match(ARGV[claims_at + i], '^[^\t]+')
      or has_users and ARGV[users_at + i] or ''
  end
  users = call('HMGET', USERS, unpack(who))
end

local gate = now >= closes and 'C' or now < opens and 'O' or false
local deadline = format('%d', now + hold)
local one = ' held 1 ' .. deadline .. '\n'
local one_of = ' held 1 ' .. deadline .. ' '
-- The lines of what is granted, in pieces that are strings already; and where in them the lines of
-- another field begin, with its name.
local codes, pieces, begins, names = {}, {}, {1}, {sub(ARGV[10], 1, PREFIX)}
local next_stretch = ARGV[9] ~= '' and string.gmatch(ARGV[9], '%d+')
local stretch, name = next_stretch and tonumber(next_stretch())
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
  if i == stretch then
    name = sub(ARGV[9 + i], 1, PREFIX)
    stretch = tonumber(next_stretch() or nil)
  end
  local claim = has_claims and ARGV[claims_at + i] or ''
  local earlier = claim ~= '' and (claimed[i] or granted_by_claim[claim])
  local quantity = quantities_at > 0 and tonumber(ARGV[quantities_at + i]) or 1
  local user, units = limited and who[i]
  if limited and user ~= '' then
    units = units_by_user[user] or integer(users[i], 0, 0, TOTAL_MAX)
    if not units then return refuse('a number of units in ' .. USERS .. ' is not one') end
  end
  if earlier then
    codes[i] = 'R'
    if claimed[i] then
      extra(earlier)
      extra(false)
    else
      extra(ARGV[9 + earlier])
      extra('held ' .. (quantities_at > 0 and ARGV[quantities_at + earlier] or '1') .. ' ' .. deadline
        .. ' ' .. claim)
    end
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
    local owner = claim ~= '' and claim or has_users and ARGV[users_at + i] or ''
    if name then
      local n = pieces_n > 0 and #names + 1 or 1
      begins[n], names[n] = pieces_n + 1, name
      name = nil
    end
    pieces[pieces_n + 1] = id
    if owner == '' then
      pieces_n = pieces_n + 2
      pieces[pieces_n] = quantity == 1 and one or ' held ' .. quantity .. ' ' .. deadline .. '\n'
    else
      pieces_n = pieces_n + 4
      pieces[pieces_n - 2] = quantity == 1 and one_of or ' held ' .. quantity .. ' ' .. deadline .. ' '
      pieces[pieces_n - 1] = owner
      pieces[pieces_n] = '\n'
    end
    left = left - quantity
    if units then units_by_user[user] = units + quantity end
    if claim ~= '' then
      granted_by_claim[claim] = i
      claims[claims_n + 1], claims[claims_n + 2] = claim, id
      claims_n = claims_n + 2
    end
  end
end

-- What was replayed from before this run, as it stands.
for i = 1, extras and #extras or 0 do
  if extras[i] == false then
    local text = field(sub(extras[i - 1], 1, PREFIX))
    if endless then return refuse_endless() end
    local from, to = locate(text, extras[i - 1])
    if not from then
      return refuse(CLAIMS .. ' names the reservation ' .. extras[i - 1] .. ', which is not in '
        .. RESERVATIONS)
    end
    extras[i] = sub(text, from, to)
  end
end

if pieces_n > 0 then
  local now_text = format('%d', now)
  local texts, deadlines = {}, {}
  begins[#begins + 1] = pieces_n + 1
  for i, name in ipairs(names) do
    texts[i] = concat(pieces, '', begins[i], begins[i + 1] - 1)
    fields[name] = field(name) .. texts[i]
    if not changed[name] then
      changed[name] = true
      deadlines[#deadlines + 1] = deadline
      deadlines[#deadlines + 1] = name .. ':' .. deadline
    end
  end
  local lines = #texts == 1 and texts[1] or concat(texts)
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
