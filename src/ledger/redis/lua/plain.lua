-- What most runs of requests for units are: one unit for each, nobody with a key, no limit a user,
-- enough for all, and no field of these names yet. Here a ticket makes one string, its id's.
-- Whatever else a run is, reserve.lua decides, behind this.
--
-- ARGV[4] has the columns of a run, one request after the other, as MessagePack: a value costs what
-- an argument does, but nothing needs an argument to say where it is. The ids; where ids begin
-- otherwise than the one before, and 1 in front; claims (user, tab, key); users, '' where there is a
-- claim or nobody; quantities; whether a request is only to look for its claim. The last four are nil
-- if nobody in the run gives one, or if all ask for one unit. A claim is also what the line of a
-- reservation made with a key says of its owner.
--
-- Reply: time, units left, deadline, one character an outcome, then what the outcomes need:
--   G granted          R replayed: id, reservation    N not claimed    U user required
--   S sold out         s too few left: units          C closed         O not open: opens_at_ms
--   L limit: limit     Q quantity: maximum       P sold in parts: how many
if not known then return {now, -1} end
local ids, begins, asked_claims, asked_users, quantities = cmsgpack.unpack(ARGV[4])
local count = #ids
local sub, concat = string.sub, table.concat
local deadline = format('%d', now + hold)

-- The head of a split sale sells nothing, so that nobody gets past the part that he belongs to.
if is_head then
  local counts = {}
  for i = 1, count do counts[i] = parts end
  return {now, free, now + hold, string.rep('P', count), unpack(counts)}
end

-- What a run granted: `set` has the fields of reservations and what they shall be, `deadlines` what
-- goes to ZADD, `claims` and `users` what goes to theirs, if anything does. The deadlines come first: they
-- check a type that nothing else has, and a deadline alone does no harm. The stream comes last: what
-- it tells is promised.
local function grant(set, deadlines, lines, units, claims, users)
  local now_text = format('%d', now)
  call('XLEN', STREAM)
  needs('HSET', SALE, 'held', '0')
  needs('XADD', STREAM, '*', 'at_ms', '0')
  call('ZADD', DEADLINES, unpack(deadlines))
  call('HSET', COUNTERS, SOLD_FIELD, format('%d', sold + units))
  call('HSET', SALE, 'held', format('%d', held + units), 'last_ms', now_text)
  if users then call('HSET', USERS, unpack(users)) end
  call('HSET', RESERVATIONS, unpack(set))
  if claims then call('HSET', CLAIMS, unpack(claims)) end
  call('XADD', STREAM, '*', 'at_ms', now_text, 'reservations', lines)
end

-- The fields of a run that is granted as a whole. Nothing if one of them is there already. Redis' Lua
-- hashes every character of every string it makes, so the text of a field is made once.
local function new_fields()
  local pieces, each, between = ids, 1, ' held 1 ' .. deadline .. '\n'
  if asked_users then
    local one, one_of = between, ' held 1 ' .. deadline .. ' '
    pieces, each, between = {}, 4, ''
    for i = 1, count do
      local user, n = asked_users[i], 4 * i
      pieces[n - 3], pieces[n - 2] = ids[i], user == '' and one or one_of
      pieces[n - 1], pieces[n] = user, user == '' and '' or '\n'
    end
  end
  local set, deadlines, texts = {}, {}, {}
  for i = 1, #begins do
    local from, after = begins[i], begins[i + 1] or count + 1
    local name = sub(ids[from], 1, PREFIX)
    if set[name] or call('HGET', RESERVATIONS, name) then return end
    -- An empty piece behind the last, for what stands between them to end the text.
    local first_behind = pieces[each * (after - 1) + 1]
    pieces[each * (after - 1) + 1] = ''
    texts[i] = concat(pieces, between, each * (from - 1) + 1, each * (after - 1) + 1)
    pieces[each * (after - 1) + 1] = first_behind
    set[name], set[2 * i - 1], set[2 * i] = true, name, texts[i]
    deadlines[2 * i - 1], deadlines[2 * i] = deadline, name .. ':' .. deadline
  end
  return set, deadlines, #texts == 1 and texts[1] or concat(texts)
end

if limit == 0 and not (asked_claims or quantities) and count <= free
  and now >= opens and now < closes then
  local set, deadlines, lines = new_fields()
  if set then
    grant(set, deadlines, lines, count)
    return {now, free - count, now + hold, string.rep('G', count)}
  end
end
