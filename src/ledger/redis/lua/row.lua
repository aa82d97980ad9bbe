-- Reading and writing reservations. The hash has one field for all whose ids begin alike, as those
-- that one batch granted do: a line feed, the rest of the id, a space, and the reservation as
-- `status quantity expires_at_ms user`, the last with its space absent for an anonymous one; then the
-- next. So a batch costs one field and not one a ticket.
local match, sub, find = string.match, string.sub, string.find
local fields, changed = {}, {}

-- The field's text, as it stands with what this script has changed.
local function field_of(id)
  local name = sub(id, 1, PREFIX)
  local text = fields[name]
  if not text then
    text = call('HGET', RESERVATIONS, name) or ''
    fields[name] = text
  end
  return text, name
end

-- One reservation, or nil.
local function stored(id)
  local text = field_of(id)
  local _, before = find(text, '\n' .. sub(id, PREFIX + 1) .. ' ', 1, true)
  if before then
    return sub(text, before + 1, (find(text, '\n', before + 1, true) or 0) - 1)
  end
end

-- Replaces one that is stored; `write_changed` writes it.
local function replace(id, value)
  local text, name = field_of(id)
  local _, before = find(text, '\n' .. sub(id, PREFIX + 1) .. ' ', 1, true)
  local behind = find(text, '\n', before + 1, true)
  fields[name] = sub(text, 1, before) .. value .. (behind and sub(text, behind) or '')
  changed[name] = true
end

local function write_changed()
  local set = {}
  for name in pairs(changed) do
    set[#set + 1] = name
    set[#set + 1] = fields[name]
  end
  call('HSET', RESERVATIONS, unpack(set))
end

-- Status, quantity, the text from the quantity on, the user ('' if anonymous).
local function parse(value)
  local status, rest, quantity, user = match(value, '^(%l+)( (%d+) %d+(.*))$')
  if status and (user == '' or sub(user, 1, 1) == ' ') then
    return status, tonumber(quantity), rest, sub(user, 2)
  end
end
