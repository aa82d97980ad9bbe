-- A run of commands about single reservations, decided in order. ARGV[4] has one letter per command
-- (c confirm, x cancel, r refund, s show, e extend, p cancel a part, q refund a part). Their ids start
-- at ARGV[5]. The id has a parameter after it: for e the time from now in ms, if it is not the sale's
-- hold time; for p and q the number of remaining units, or the remaining lines.
--
-- A held reservation can be confirmed after its deadline, until the sweep has returned it to stock. An
-- expired reservation takes its units again if enough are left. A reservation that is confirmed in a
-- run may be refunded in the same run: its last state is written once, to its field and the stream.
--
-- Reply: time, units left, one character per outcome, then the values of the outcomes:
--   R unchanged or done: reservation  P already confirmed   X already cancelled   E expired
--   F already refunded                H held, not confirmed N no such reservation
--   U user required                   L limit reached: limit
--   M hold too long: latest deadline  T more units than it was made with: its units
--   l lines are required              m has lines, but the sale has no types
if not known then return {now, -1} end
local asked = ARGV[4]
local count = #asked

local names, rows, ids, parameters = {}, {}, {}, {}
for i = 1, count do
  ids[i] = ARGV[4 + i]
  if #ids[i] > ID_BYTES then
    local parameter = sub(ids[i], ID_BYTES + 1)
    ids[i], parameters[i] = sub(ids[i], 1, ID_BYTES), tonumber(parameter) or parameter
  end
  local name = sub(ids[i], 1, PREFIX)
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
  local id, ask = ids[i], sub(asked, i, i)
  local name = sub(id, 1, PREFIX)
  local row = rows[name][id]
  if not row then
    local from, to = locate(fields[name], id)
    if from then
      local status, quantity, deadline, user, details, owner_end = parse(fields[name], from, to)
      if not status then return refuse_line(id .. ' ' .. sub(fields[name], from, to)) end
      row = {name = name, from = from, after = from + #status, to = to, status = status,
        quantity = quantity, deadline = deadline, user = user, details = details, owner_end = owner_end}
      row.lines = types and lines_of(details, quantity)
      if types and not row.lines then return refuse_line(id .. ' ' .. sub(fields[name], from, to)) end
      rows[name][id] = row
    end
  end
  list[i] = row or false
  if limit > 0 and row and row.user ~= '' and not is_in[row.user]
    and (ask == 'x' and row.status == 'held' or ask == 'c' and row.status == 'expired'
      or ask == 'p' and row.status == 'held'
      or (ask == 'r' or ask == 'q') and (row.status == 'held' or row.status == 'confirmed')) then
    is_in[row.user] = true
    users[#users + 1] = row.user
  end
end
local failure = read_users(users)
if failure then return failure end

local sold_then, held_then = sold, held
local codes, extras, lines = {}, {}, {}
local edits, due = {}, nil
local refunds, details_written = false, false
local has_units, back = {held = true, confirmed = true}, 0

-- The text after the status.
local function rest_of(row)
  row.rest = row.rest or sub(fields[row.name], row.after, row.to)
  return row.rest
end

-- Another quantity, deadline or details replace the text.
local function rewrite(row)
  local _, _, owner = find(sub(fields[row.name], row.after, row.owner_end), '^ %d+ %d+(.*)$')
  -- Both tabs precede details.
  if owner == '' then owner = ' ' end
  if not find(owner, '\t', 1, true) then owner = owner .. '\t' end
  row.rest = ' ' .. format('%d', row.quantity) .. ' ' .. format('%d', row.deadline) .. owner
    .. details_text(row.details)
  details_written = true
end

local function become(row, id, status)
  if has_units[row.status] ~= has_units[status] then back = back + (has_units[status] and -1 or 1) end
  row.status, row.value = status, status .. rest_of(row)
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

-- The units that a reservation keeps if these are to remain. Returns the outcome's letter if that is
-- impossible, else nil, their number, and in a sale with ticket types their lines. Units that were
-- given back before do not return.
local function kept_of(row, remaining)
  local details = row.details or {}
  if type(remaining) == 'number' then
    if row.lines then return 'l' end
    if remaining > (details.asked or row.quantity) then return 'T' end
    return nil, math.min(remaining, row.quantity)
  end
  if not row.lines then return 'm' end
  local made_with, wanted, kept, units = {}, {}, {}, 0
  for _, line in ipairs(parse_lines(details.made or details.lines)) do made_with[line[1]] = line[2] end
  for _, line in ipairs(parse_lines(remaining) or {}) do
    if line[2] > (made_with[line[1]] or 0) then return 'T' end
    wanted[line[1]] = line[2]
  end
  for _, line in ipairs(row.lines) do
    local quantity = math.min(line[2], wanted[line[1]] or 0)
    if quantity > 0 then kept[#kept + 1] = {line[1], quantity} end
    units = units + quantity
  end
  return nil, units, kept
end

-- Cancels or refunds the units that a reservation does not keep.
local function reduce(row, id, units, lines)
  row.details = row.details or {}
  local fewer = row.quantity - units
  if fewer == 0 then return 'R' end
  if row.status == 'held' then
    if fewer > held_then then return nil, refuse_held(fewer) end
    held_then = held_then - fewer
  elseif fewer > sold_then - held_then then
    return nil, refuse_confirmed(fewer)
  end
  sold_then = sold_then - fewer
  add_units(row.user, -fewer)
  if lines then
    count_types(row.lines, row.status, -1)
    count_types(lines, row.status, 1)
    row.details.made = row.details.made or row.details.lines
    row.lines, row.details.lines = lines, lines_text(lines)
  end
  row.quantity, row.details.asked = units, row.details.asked or row.quantity
  rewrite(row)
  become(row, id, row.status)
  return 'R'
end

-- Extends a hold until this many ms from now, but not beyond the sale's bound, counted from its
-- first deadline.
local function extend(row, id, hold_ms)
  row.details = row.details or {}
  local first = row.details.first or row.deadline
  local until_ms = math.min(now + hold_ms, TIME_MS_MAX)
  if until_ms <= row.deadline then return 'R' end
  row.deadline_max = math.min(first + extend_max, TIME_MS_MAX)
  if until_ms > row.deadline_max then return 'M' end
  row.deadline, row.details.first = until_ms, first
  rewrite(row)
  become(row, id, row.status)
  due = due or {}
  due[#due + 1] = format('%d', until_ms)
  due[#due + 1] = row.name .. ':' .. format('%d', until_ms)
  return 'R'
end

for i = 1, count do
  local ask, row, remaining = sub(asked, i, i), list[i], nil
  local status = row and row.status
  local code = 'R'
  local wrong, units, lines
  if ask == 'p' or ask == 'q' then
    remaining = parameters[i]
    if remaining ~= 0 and (ask == 'p' and status == 'held' or ask == 'q' and status == 'confirmed') then
      wrong, units, lines = kept_of(row, remaining)
      -- All units that are to remain were given back before.
      if units == 0 then remaining = 0 end
    end
    -- If no units remain, the outcome is that for the whole reservation. If that was done before, the
    -- reservation is unchanged.
    if remaining == 0 then
      local whole = ask == 'p' and 'cancelled' or 'refunded'
      ask = status == whole and 's' or ask == 'p' and 'x' or 'r'
    end
  end
  if not row then
    code = 'N'
  elseif ask == 's' or ask == 'c' and status == 'confirmed' or ask == 'r' and status == 'refunded' then
    code = 'R'
  elseif wrong then
    code = wrong
  elseif units and units > 0 then
    local failure
    code, failure = reduce(row, ids[i], units, lines)
    if failure then return failure end
  elseif ask == 'e' and status == 'held' then
    code = extend(row, ids[i], parameters[i] or hold)
  elseif status == 'refunded' then
    code = 'F'
  elseif ask == 'r' and status == 'confirmed' then
    if row.quantity > sold_then - held_then then return refuse_confirmed(row.quantity) end
    sold_then = sold_then - row.quantity
    add_units(row.user, -row.quantity)
    if types then count_types(row.lines, 'confirmed', -1) end
    become(row, ids[i], 'refunded')
    refunds = true
  elseif status == 'confirmed' then
    code = 'P'
  elseif status == 'cancelled' then
    code = 'X'
  elseif ask == 'r' or ask == 'q' then
    code = status == 'held' and 'H' or 'E'
  elseif ask == 'e' or ask == 'p' then
    code = 'E'
  elseif status == 'held' then
    if row.quantity > held_then then return refuse_held(row.quantity) end
    held_then = held_then - row.quantity
    if types then
      count_types(row.lines, 'held', -1)
      count_types(row.lines, 'confirmed', ask == 'c' and 1 or 0)
    end
    if ask == 'x' then
      sold_then = sold_then - row.quantity
      add_units(row.user, -row.quantity)
    end
    become(row, ids[i], ask == 'c' and 'confirmed' or 'cancelled')
  elseif ask == 'x' or row.quantity > total - sold_then or types and short_type(row.lines) then
    code = 'E'
  elseif limit > 0 and row.user == '' then
    code = 'U'
  elseif limit > 0 and units_of[row.user] + row.quantity > limit then
    code = 'L'
  else
    sold_then = sold_then + row.quantity
    add_units(row.user, row.quantity)
    if types then count_types(row.lines, 'confirmed', 1) end
    become(row, ids[i], 'confirmed')
  end
  codes[i] = code
  if code == 'R' then extras[#extras + 1] = row.value or sub(fields[row.name], row.from, row.to) end
  if code == 'L' then extras[#extras + 1] = limit end
  if code == 'M' then extras[#extras + 1] = row.deadline_max end
  if code == 'T' then extras[#extras + 1] = row.quantity end
end

local overdrawn = types and overdrawn_type()
if overdrawn then return refuse_type(overdrawn) end

local function by_place(a, b)
  return a.from < b.from
end

for name, edit in pairs(edits) do
  if #edit > 1 then table.sort(edit, by_place) end
  local text, pieces, next_from = fields[name], {}, 1
  for _, row in ipairs(edit) do
    pieces[#pieces + 1] = sub(text, next_from, row.from - 1)
    pieces[#pieces + 1] = row.value
    next_from = row.to + 1
  end
  pieces[#pieces + 1] = sub(text, next_from)
  fields[name] = concat(pieces)
  changed[name] = true
end
if #lines > 0 then
  local needed = details_written and FORMAT_DETAILS or refunds and FORMAT_REFUNDED or 1
  write(concat(lines), sold_then, held_then, sale_format < needed and needed, due, back)
end
return {now, free, concat(codes), unpack(extras)}
