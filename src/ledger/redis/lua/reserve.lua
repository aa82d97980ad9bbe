-- Any run of requests for units. reserve_fast.lua describes its arguments. The checks come in the order
-- of sale/machine.rs.
--
-- Reply: time, units left, deadline, one character per outcome, then the values of the outcomes:
--   G granted          R replayed: id, reservation    U user required
--   S sold out         s too few left: units          C closed         O not open: opens_at_ms
--   L limit reached: limit       Q quantity too large: maximum
--   q quantity too small: minimum     P sold in parts: number of parts
--   X maximum of reservations ever made or returned: maximum
--   Y maximum of reservations ever made for this user: maximum
--   K the key belongs to a reservation of another request
--   T too few units of a ticket type: its name, its units left     l lines are required
--   m has lines, but the sale has no types                         n no such type: its name
if not known then return {now, -1} end
local deadline = format('%d', now + hold)

-- The requests, one after the other: ids, quantities, claims (user, tab, key) and users, '' if
-- there is a claim or no user. A claim equals the owner in the line of a reservation made with a
-- key.
local ids, quantities, asked_claims, asked_users = {}, {}, {}, {}
local has_claims, has_users = false, false
-- The details in the line of the few requests that have any.
local asked_details = {}
-- The units of a request by ticket type, as text.
local asked_lines = {}
local function request(id, quantity, owner)
  local n, key_at = #ids + 1, find(owner, '\t', 1, true)
  local details_at = key_at and find(owner, '\t', key_at + 1, true)
  if details_at then
    asked_details[n] = sub(owner, details_at)
    asked_lines[n] = match(asked_details[n], '^\tlines=([^\t]+)')
    owner = sub(owner, 1, details_at == key_at + 1 and key_at - 1 or details_at - 1)
  end
  local is_claim = find(owner, '\t', 1, true)
  ids[n], quantities[n] = id, tonumber(quantity)
  asked_claims[n], asked_users[n] = is_claim and owner or '', is_claim and '' or owner
  has_claims, has_users = has_claims or is_claim, has_users or owner ~= ''
end
if #ARGV[4] == ID_BYTES then
  request(ARGV[4], 1, ARGV[6] == '' and ARGV[5] or ARGV[5] .. '\t' .. ARGV[6])
else
  local _, _, _, _, _, texts = cmsgpack.unpack(ARGV[4])
  if type(texts[1]) == 'number' then
    local claims = {cmsgpack.unpack(ARGV[6])}
    for i = 1, #claims, 2 do request(claims[i + 1], 1, claims[i]) end
  else
    for _, pieces in ipairs(texts) do
      for id, quantity, owner in string.gmatch(concat(pieces, '0'), '(%w+) held (%d+) 0 ?([^\n]*)\n') do
        request(id, quantity, owner)
      end
    end
  end
end
local count = #ids

-- The head of a split sale sells nothing, so that no user bypasses the part that he belongs to.
if is_head then
  local counts = {}
  for i = 1, count do counts[i] = parts end
  return {now, free, now + hold, string.rep('P', count), unpack(counts)}
end

-- The maximum number of reservations that may ever be made, or come back.
local made_max = reservations_max and reservations_max > 0 and reservations_max
local returned_max = reservations_max == false and not parts
  and math.max(RETURNED_MAX, RETURNED_PER_UNIT * total)

-- The ids of the granted reservations, if a request has a trace.
local granted = {}

-- The grants of a run: `set` has the fields of reservations and their new values, `deadlines` the
-- arguments of ZADD, `claims` and `users` those of their keys, if there are any. The order is that
-- of reserve_fast.lua, except for the sale's format, if it changes: a version that can't read what
-- follows must know it before.
local function grant(set, deadlines, lines, units, claims, users, raised)
  local now_text = format('%d', now)
  call('XLEN', STREAM)
  needs('HSET', SALE, 'held', '0')
  needs('XADD', STREAM, '*', 'at_ms', '0')
  if raised then
    call('ZRANGE', DEADLINES, 0, 0)
    needs('ZADD', DEADLINES, '0', 'a')
    call('HSET', SALE, 'format', raised)
  end
  call('ZADD', DEADLINES, unpack(deadlines))
  call('HSET', COUNTERS, SOLD_FIELD, format('%d', sold + units))
  local of_sale = {'held', format('%d', held + units), 'last_ms', now_text}
  local function keep_too(name, text)
    of_sale[#of_sale + 1] = name
    of_sale[#of_sale + 1] = text
  end
  if made_max then keep_too('made', format('%d', made)) end
  if types then keep_too('by_type', (by_type_text())) end
  call('HSET', SALE, unpack(of_sale))
  if users then call('HSET', USERS, unpack(users)) end
  call('HSET', RESERVATIONS, unpack(set))
  if claims then call('HSET', CLAIMS, unpack(claims)) end
  local found_by = {}
  for line, id in string.gmatch(ARGV[7] or '', '((%w+) [^\n]*\n)') do
    if granted[id] then found_by[#found_by + 1] = line end
  end
  if #found_by > 0 then
    call('XADD', STREAM, '*', 'at_ms', now_text, 'reservations', lines, 'traces', concat(found_by))
  else
    call('XADD', STREAM, '*', 'at_ms', now_text, 'reservations', lines)
  end
end

local limited, counted = limit > 0, user_max > 0
local claimed = has_claims and call('HMGET', CLAIMS, unpack(asked_claims))
-- The users, and the units of each, if the sale has a limit. Also the number of reservations made
-- for each, if that is bounded: the name of this field is a tab and the user, whose name has no
-- tab.
local who, users, made_for
if limited or counted then
  who = {}
  for i = 1, count do
    who[i] = match(asked_claims[i], '^[^\t]+') or asked_users[i]
  end
end
if limited then users = has_users and call('HMGET', USERS, unpack(who)) or {} end
if counted then
  local names = {}
  for i = 1, count do names[i] = '\t' .. who[i] end
  made_for = has_users and call('HMGET', USERS, unpack(names)) or {}
end

local gate = now >= closes and 'C' or now < opens and 'O' or false
local one = ' held 1 ' .. deadline .. '\n'
local one_of = ' held 1 ' .. deadline .. ' '
-- The lines of the grants, in pieces that are strings already; and where the lines of another field
-- begin, with its name.
local codes, pieces, names, from = {}, {}, {}, {}
local prefix, name
local new_claims, granted_by_claim = {}, {}
local units_by_user, made_by_user = users and {}, made_for and {}
local extras
local pieces_n, left = 0, free

local function extra(value)
  extras = extras or {}
  extras[#extras + 1] = value
end

-- The outcome of a request whose key has the reservation `earlier` from before this run. Returns an
-- error, or nothing.
local function replay(i, earlier)
  local text = field(sub(earlier, 1, PREFIX))
  if endless then return refuse_endless() end
  local from, to = locate(text, earlier)
  if not from then
    return refuse(CLAIMS .. ' names the reservation ' .. earlier .. ', which is not in '
      .. RESERVATIONS)
  end
  -- Units that were given back since were part of the request all the same.
  local value = sub(text, from, to)
  local details = match(value, '^%l+ %d+ %d+ [^\t]*\t[^\t]*(\t.*)$') or ''
  local made_for = tonumber(match(details, '^\tasked=(%d+)') or match(value, '^%l+ (%d+) '))
  local made_lines = match(details, '\tmade=([^\t]+)') or match(details, '\tlines=([^\t]+)')
  local is_other = made_for and made_for ~= quantities[i] or made_lines ~= asked_lines[i]
  codes[i] = is_other and 'K' or 'R'
  if codes[i] == 'R' then
    extra(earlier)
    extra(value)
  end
end

-- The owner and details of a new reservation, as in a line.
local details_granted = false
local function owner_of(i)
  local details, claim = asked_details[i], asked_claims[i]
  if not details then return claim ~= '' and claim or asked_users[i] end
  return (claim ~= '' and claim or asked_users[i] .. '\t') .. details
end

-- The lines of a request as a list, or their fault, and the type at fault.
local function lines_of_request(i)
  local text = asked_lines[i]
  if not types then return nil, text and 'm' end
  if not text then return nil, 'l' end
  local lines = parse_lines(text)
  for _, line in ipairs(lines) do
    if not by_type[line[1]] then return nil, 'n', line[1] end
  end
  return lines
end

for i = 1, count do
  local id, claim = ids[i], asked_claims[i]
  if sub(id, 1, PREFIX) ~= prefix then
    prefix = sub(id, 1, PREFIX)
    name = prefix
  end
  local earlier = claim ~= '' and (claimed[i] or granted_by_claim[claim])
  local quantity = quantities[i]
  local user, units, made_before = who and who[i] or ''
  if limited and user ~= '' then
    units = units_by_user[user] or integer(users[i], 0, 0, TOTAL_MAX)
    if not units then return refuse('a number of units in ' .. USERS .. ' is not one') end
  end
  if counted and user ~= '' then
    made_before = made_by_user[user] or integer(made_for[i], 0, 0, TOTAL_MAX)
    if not made_before then return refuse('a number of reservations in ' .. USERS .. ' is not one') end
  end
  local lines, wrong, unknown_type, short, short_left
  if not earlier and not gate then
    lines, wrong, unknown_type = lines_of_request(i)
    if lines and left > 0 then short, short_left = short_type(lines) end
  end
  if earlier then
    if claimed[i] then
      local failure = replay(i, earlier)
      if failure then return failure end
    elseif quantities[earlier] ~= quantity or asked_lines[earlier] ~= asked_lines[i] then
      codes[i] = 'K'
    else
      codes[i] = 'R'
      extra(ids[earlier])
      extra('held ' .. quantities[earlier] .. ' ' .. deadline .. ' ' .. owner_of(earlier))
    end
  elseif gate then
    codes[i] = gate
    if gate == 'O' then extra(opens) end
  elseif wrong then
    codes[i] = wrong
    if unknown_type then extra(unknown_type) end
  elseif quantity > quantity_max then
    codes[i] = 'Q'
    extra(quantity_max)
  elseif quantity < quantity_min then
    codes[i] = 'q'
    extra(quantity_min)
  elseif who and user == '' then
    codes[i] = 'U'
  elseif limited and units + quantity > limit then
    codes[i] = 'L'
    extra(limit)
  elseif counted and made_before >= user_max then
    codes[i] = 'Y'
    extra(user_max)
  elseif made_max and made >= made_max or returned_max and returned >= returned_max then
    codes[i] = 'X'
    extra(made_max or returned_max)
  elseif short then
    codes[i] = 'T'
    extra(short)
    extra(short_left)
  elseif quantity > left then
    codes[i] = left == 0 and 'S' or 's'
    if left > 0 then extra(left) end
  else
    codes[i] = 'G'
    made = made + 1
    if lines then count_types(lines, 'held', 1) end
    if ARGV[7] then granted[id] = true end
    local owner = owner_of(i)
    details_granted = details_granted or asked_details[i] ~= nil
    if name then
      names[#names + 1], from[#from + 1] = name, pieces_n + 1
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
    if made_before then made_by_user[user] = made_before + 1 end
    if claim ~= '' then
      granted_by_claim[claim] = i
      new_claims[#new_claims + 1] = claim
      new_claims[#new_claims + 1] = id
    end
  end
end

if pieces_n > 0 then
  local texts, deadlines = {}, {}
  from[#from + 1] = pieces_n + 1
  for i, name in ipairs(names) do
    texts[i] = concat(pieces, '', from[i], from[i + 1] - 1)
    fields[name] = field(name) .. texts[i]
    if not changed[name] then
      changed[name] = true
      deadlines[#deadlines + 1] = deadline
      deadlines[#deadlines + 1] = name .. ':' .. deadline
    end
  end
  if endless then return refuse_endless() end
  local users_then = who and {}
  for user, units in pairs(units_by_user or {}) do
    users_then[#users_then + 1] = user
    users_then[#users_then + 1] = format('%d', units)
  end
  for user, made_then in pairs(made_by_user or {}) do
    users_then[#users_then + 1] = '\t' .. user
    users_then[#users_then + 1] = format('%d', made_then)
  end
  grant(changed_fields(), deadlines, #texts == 1 and texts[1] or concat(texts), free - left,
    #new_claims > 0 and new_claims, users_then,
    details_granted and sale_format < FORMAT_DETAILS and FORMAT_DETAILS)
end

codes = concat(codes)
if extras then return {now, left, now + hold, codes, unpack(extras)} end
return {now, left, now + hold, codes}
