-- Ticket types, and the lines of a reservation in a sale with types: see sale/types.rs. The sale's
-- hash has the types as they were defined, `adult:60,child:40`, and in `by_type` the held and
-- confirmed units of each, in the same order, `3:5,0:1`.

-- The sold units of each type, as stored. With `raised`, only increases are included; also returns
-- whether there are any.
local function by_type_text(raised)
  local pieces, has_more = {}, false
  for i, name in ipairs(type_names) do
    local now, before = by_type[name], by_type[name].before
    local is_more = now.held + now.confirmed > before.held + before.confirmed
    if raised and not is_more then now = before end
    has_more = has_more or is_more
    pieces[i] = format('%d:%d', now.held, now.confirmed)
  end
  return table.concat(pieces, ','), has_more
end

-- Parses both texts. Nothing if they are not as we write them.
local function read_types(text, counts_text)
  types, type_names, by_type = text, {}, {}
  local again = {}
  for name, cap in string.gmatch(text, '([%l%d_-]+):(%d+)') do
    cap = integer(cap, nil, 1, TOTAL_MAX)
    if not cap or by_type[name] then return end
    type_names[#type_names + 1] = name
    again[#again + 1] = name .. ':' .. format('%d', cap)
    by_type[name] = {cap = cap, held = 0, confirmed = 0, before = {held = 0, confirmed = 0}}
  end
  local n = 0
  for held, confirmed in string.gmatch(counts_text, '(%d+):(%d+)') do
    held, confirmed = integer(held, nil, 0, TOTAL_MAX), integer(confirmed, nil, 0, TOTAL_MAX)
    n = n + 1
    local units = by_type[type_names[n]]
    if not (held and confirmed and units) then return end
    units.held, units.confirmed = held, confirmed
    units.before = {held = held, confirmed = confirmed}
  end
  return #again > 0 and table.concat(again, ',') == text and (by_type_text()) == counts_text
end

local function lines_text(lines)
  local pieces = {}
  for i, line in ipairs(lines) do pieces[i] = line[1] .. ':' .. format('%d', line[2]) end
  return table.concat(pieces, ',')
end

-- Lines, `adult:2,child:1`, as a list of {name, quantity}, and their sum. Nothing if they are not
-- as we write them.
local function parse_lines(text)
  local lines, units = {}, 0
  for name, quantity in string.gmatch(text, '([%l%d_-]+):(%d+)') do
    quantity = integer(quantity, nil, 1, QUANTITY_MAX)
    if not quantity then return end
    lines[#lines + 1] = {name, quantity}
    units = units + quantity
  end
  if #lines > 0 and lines_text(lines) == text then return lines, units end
end

-- The first type of which fewer units are left than these lines ask for, in a sale with units left,
-- and their number.
local function short_type(lines)
  for _, line in ipairs(lines) do
    local units = by_type[line[1]]
    local left = units.cap - units.held - units.confirmed
    if line[2] > left then return line[1], math.max(left, 0) end
  end
end

-- Adds lines to the `held` or `confirmed` units of their types, or with -1 subtracts them.
local function count_types(lines, what, times)
  for _, line in ipairs(lines) do
    local units = by_type[line[1]]
    units[what] = units[what] + times * line[2]
  end
end

-- The first type with less than 0 units now.
local function overdrawn_type()
  for _, name in ipairs(type_names) do
    if by_type[name].held < 0 or by_type[name].confirmed < 0 then return name end
  end
end
