-- Reads and writes reservations. The hash has one field for all ids with the same prefix, such as
-- those that one batch granted. Each has a line: the id and `status quantity expires_at_ms`, then,
-- if it has an owner, a space and the owner: the user, and a tab and the key if it was made with
-- one. So a batch costs one field and not one per ticket, and the stream gets the same lines. Lua
-- interns every string, which is the largest cost per ticket: no string is created here that is not
-- needed.
local match, sub, find, byte = string.match, string.sub, string.find, string.byte
local concat = table.concat
local fields, changed = {}, {}
-- The name of a field without an end, if one was met: nothing may be written then.
local endless

local function keep(name, text)
  text = text or ''
  if text ~= '' and byte(text, -1) ~= 10 then endless = name end
  fields[name] = text
  return text
end

-- A field's text, with the changes of this script.
local function field(name)
  return fields[name] or keep(name, call('HGET', RESERVATIONS, name))
end

-- The place of a reservation in its field: the first and last character of the text after its id.
-- Nothing if it is not there.
local function locate(text, id)
  local from = #id + 2
  if sub(text, 1, #id) ~= id or byte(text, from - 1) ~= 32 then
    local _, to = find(text, '\n' .. id .. ' ', 1, true)
    if not to then return end
    from = to + 1
  end
  return from, find(text, '\n', from, true) - 1
end

-- The changes of this script, as arguments of HSET.
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
