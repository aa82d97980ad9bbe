-- A run of commands about single reservations, decided in order. ARGV[4] has a letter for each
-- (c confirm, x cancel, r refund, s show); their ids start at ARGV[5].
--
-- A held reservation is paid for also past its deadline, as long as nobody has returned it to stock;
-- an expired one takes its units again if they are left. One that is paid for in a run may be refunded
-- in it: its field and the stream are told what it is then, once.
--
-- Reply: time, units left, one character an outcome, then what the outcomes need:
--   R as it stands: reservation    P paid already    X cancelled already    E expired
--   F refunded already             H held, not paid  N no such reservation
--   U user required                L limit: limit
if not known then return {now, -1} end
local asked = ARGV[4]
local count = #asked

local names, rows = {}, {}
for i = 1, count do
  local name = sub(ARGV[4 + i], 1, PREFIX)
  if not rows[name] then
    rows[name] = {}
    names[#names + 1] = name
  end
end
local texts = call('HMGET', RESERVATIONS, unpack(names))
for i, name in ipairs(names) do keep(name, texts[i]) end
if endless then return refuse_endless() end

local list, users, is_in = {}, {}, {}
for i = 1, count do
  local id, ask = ARGV[4 + i], sub(asked, i, i)
  local name = sub(id, 1, PREFIX)
  local row = rows[name][id]
  if not row then
    local from, to = locate(fields[name], id)
    if from then
      local status, quantity, _, user = parse(fields[name], from, to)
      if not status then return refuse_line(id .. ' ' .. sub(fields[name], from, to)) end
      row = {name = name, from = from, after = from + #status, to = to, status = status,
        quantity = quantity, user = user}
      rows[name][id] = row
    end
  end
  list[i] = row or false
  if limit > 0 and row and row.user ~= '' and not is_in[row.user]
    and (ask == 'x' and row.status == 'held' or ask == 'c' and row.status == 'expired'
      or ask == 'r' and (row.status == 'held' or row.status == 'confirmed')) then
    is_in[row.user] = true
    users[#users + 1] = row.user
  end
end
local failure = read_users(users)
if failure then return failure end

local sold_then, held_then = sold, held
local codes, extras, lines = {}, {}, {}
local edits = {}
local refunds = false

local function become(row, id, status)
  row.status, row.value = status, status .. sub(fields[row.name], row.after, row.to)
  if row.line then
    lines[row.line] = row.value
    return
  end
  lines[#lines + 1] = id
  lines[#lines + 1] = ' '
  lines[#lines + 1] = row.value
  row.line = #lines
  lines[#lines + 1] = '\n'
  local edit = edits[row.name] or {}
  edits[row.name] = edit
  edit[#edit + 1] = row
end

local function refuse_confirmed(units)
  return refuse('more units are to be refunded in ' .. SALE .. ' than are confirmed: '
    .. format('%d and %d', units, sold_then - held_then))
end

for i = 1, count do
  local ask, row = sub(asked, i, i), list[i]
  local status = row and row.status
  local code = 'R'
  if not row then
    code = 'N'
  elseif ask == 's' or ask == 'c' and status == 'confirmed' or ask == 'r' and status == 'refunded' then
    code = 'R'
  elseif status == 'refunded' then
    code = 'F'
  elseif ask == 'r' and status == 'confirmed' then
    if row.quantity > sold_then - held_then then return refuse_confirmed(row.quantity) end
    sold_then = sold_then - row.quantity
    add_units(row.user, -row.quantity)
    become(row, ARGV[4 + i], 'refunded')
    refunds = true
  elseif status == 'confirmed' then
    code = 'P'
  elseif status == 'cancelled' then
    code = 'X'
  elseif ask == 'r' then
    code = status == 'held' and 'H' or 'E'
  elseif status == 'held' then
    if row.quantity > held_then then return refuse_held(row.quantity) end
    held_then = held_then - row.quantity
    if ask == 'x' then
      sold_then = sold_then - row.quantity
      add_units(row.user, -row.quantity)
    end
    become(row, ARGV[4 + i], ask == 'c' and 'confirmed' or 'cancelled')
  elseif ask == 'x' or row.quantity > total - sold_then then
    code = 'E'
  elseif limit > 0 and row.user == '' then
    code = 'U'
  elseif limit > 0 and units_of[row.user] + row.quantity > limit then
    code = 'L'
  else
    sold_then = sold_then + row.quantity
    add_units(row.user, row.quantity)
    become(row, ARGV[4 + i], 'confirmed')
  end
  codes[i] = code
  if code == 'R' then extras[#extras + 1] = row.value or sub(fields[row.name], row.from, row.to) end
  if code == 'L' then extras[#extras + 1] = limit end
end

local function by_place(a, b)
  return a.from < b.from
end

for name, edit in pairs(edits) do
  if #edit > 1 then table.sort(edit, by_place) end
  local text, pieces, next_from = fields[name], {}, 1
  for _, row in ipairs(edit) do
    pieces[#pieces + 1] = sub(text, next_from, row.from - 1)
    pieces[#pieces + 1] = row.status
    next_from = row.after
  end
  pieces[#pieces + 1] = sub(text, next_from)
  fields[name] = concat(pieces)
  changed[name] = true
end
if #lines > 0 then
  local raised = refunds and sale_format < FORMAT_REFUNDED and FORMAT_REFUNDED
  write(concat(lines), sold_then, held_then, raised)
end
return {now, free, concat(codes), unpack(extras)}
