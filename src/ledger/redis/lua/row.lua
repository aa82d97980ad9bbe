-- Reading and writing reservations. The hash has one field for all whose ids begin alike, as those
-- that one batch granted do: a line each, the id and `status quantity expires_at_ms user`, the last
-- with its space absent for an anonymous one. So a batch costs one field and not one a ticket, and
-- the stream is told the same lines. Lua makes an entry in a table of all strings for each string,
-- which is what a ticket costs most: none is made here that is not needed.
local match, sub, find = string.match, string.sub, string.find
local fields, changed = {}, {}

-- A field's text, as it stands with what this script has changed.
local function field(name)
  local text = fields[name]
  if not text then
    text = call('HGET', RESERVATIONS, name) or ''
    fields[name] = text
  end
  return text
end

-- Where one reservation stands: the text, the field's name, the first and last character of what
-- follows its id. Nothing if it does not.
local function locate(id)
  local name = sub(id, 1, PREFIX)
  local text = field(name)
  local at = find('\n' .. text, '\n' .. id .. ' ', 1, true)
  if at then
    local from = at + #id + 1
    return text, name, from, find(text, '\n', from, true) - 1
  end
end

-- One reservation, or nil.
local function stored(id)
  local text, _, from, to = locate(id)
  return text and sub(text, from, to)
end

-- Replaces one that is stored; `write_changed` writes it.
local function replace(id, value)
  local text, name, from, to = locate(id)
  fields[name] = sub(text, 1, from - 1) .. value .. sub(text, to + 1)
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
