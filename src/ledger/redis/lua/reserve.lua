-- A run of requests for units that is not plain: see plain.lua for what it gets and replies. The
-- questions come in the order that sale/machine.rs gives.
local limited = limit > 0
local claimed = asked_claims and call('HMGET', CLAIMS, unpack(asked_claims))
-- Who asks, and what each has, if the sale has a limit.
local who, users
if limited then
  who = {}
  for i = 1, count do
    who[i] = asked_claims and match(asked_claims[i], '^[^\t]+') or asked_users and asked_users[i] or ''
  end
  users = call('HMGET', USERS, unpack(who))
end

local gate = now >= closes and 'C' or now < opens and 'O' or false
local one = ' held 1 ' .. deadline .. '\n'
local one_of = ' held 1 ' .. deadline .. ' '
-- The lines of what is granted, in pieces that are strings already; and where in them the lines of
-- another field begin, with its name.
local codes, pieces, names, from = {}, {}, {}, {}
local next_begin, name = 1, nil
local new_claims, granted_by_claim = {}, {}
local units_by_user = users and {}
local extras
local pieces_n, left = 0, free

local function extra(value)
  extras = extras or {}
  extras[#extras + 1] = value
end

for i = 1, count do
  if i == begins[next_begin] then
    name, next_begin = sub(ids[i], 1, PREFIX), next_begin + 1
  end
  local id, claim = ids[i], asked_claims and asked_claims[i] or ''
  local earlier = claim ~= '' and (claimed[i] or granted_by_claim[claim])
  local quantity = quantities and quantities[i] or 1
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
      extra(ids[earlier])
      extra('held ' .. (quantities and quantities[earlier] or 1) .. ' ' .. deadline .. ' ' .. claim)
    end
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
    local owner = claim ~= '' and claim or asked_users and asked_users[i] or ''
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
    if claim ~= '' then
      granted_by_claim[claim] = i
      new_claims[#new_claims + 1] = claim
      new_claims[#new_claims + 1] = id
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
  local users_then = units_by_user and {}
  for user, units in pairs(units_by_user or {}) do
    users_then[#users_then + 1] = user
    users_then[#users_then + 1] = format('%d', units)
  end
  grant(changed_fields(), deadlines, #texts == 1 and texts[1] or concat(texts), free - left,
    #new_claims > 0 and new_claims, users_then)
end

codes = concat(codes)
if extras then return {now, left, now + hold, codes, unpack(extras)} end
return {now, left, now + hold, codes}
