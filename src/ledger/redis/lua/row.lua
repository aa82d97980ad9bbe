-- Reading and writing reservations. The hash has one field for all whose ids begin alike, as those
-- that one batch granted do: a line each, the id and `status quantity expires_at_ms`, then, unless it
-- is nobody's, a space and its owner: the user, with a tab and the key if it was made with one. So a
-- batch costs one field and not one a ticket, and the stream is told the same lines. Lua makes an
-- entry in a table of all strings for each string, which is what a ticket costs most: none is made
-- here that is not needed.
local match, sub, find, byte = string.match, string.sub, string.find, string.byte
local concat = table.concat
local fields, changed = {}, {}
-- The name of a field that has no end, if one was met: nothing may be written then.
local endless

local function keep(name, text)
  text = text or ''
  if text ~= '' and byte(text, -1) ~= 10 then endless = name end
  fields[name] = text
  return text
end

-- A field's text, as it stands with what this script has changed.
local function field(name)
  return fields[name] or keep(name, call('HGET', RESERVATIONS, name))
end

-- Where one reservation stands in its field: the first and last character of what follows its id.
-- Nothing if it does not.
local function locate(text, id)
  local from = #id + 2
  if sub(text, 1, #id) ~= id or byte(text, from - 1) ~= 32 then
    local _, to = find(text, '\n' .. id .. ' ', 1, true)
    if not to then return end
    from = to + 1
  end
  return from, find(text, '\n', from, true) - 1
end

-- What this script has changed, as HSET takes it.
local function changed_fields()
  local set = {}
  for name in pairs(changed) do
    set[#set + 1] = name
    set[#set + 1] = fields[name]
  end
  return set
end

local function refuse_endless()
  return refuse('the field ' .. endless .. ' of ' .. RESERVATIONS .. ' does not end with its line')
end
