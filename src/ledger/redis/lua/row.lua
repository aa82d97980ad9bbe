-- Reading and writing one reservation: `status quantity expires_at_ms user`, the last with its space
-- absent for an anonymous one.
local match, sub = string.match, string.sub

-- Status, quantity, the text from behind the quantity on, the user ('' if anonymous).
local function parse(value)
  local status, quantity, rest, user = match(value, '^(%l+) (%d+)( %d+(.*))$')
  if status and (user == '' or sub(user, 1, 1) == ' ') then
    return status, tonumber(quantity), rest, sub(user, 2)
  end
end

local function row(status, quantity, rest)
  return status .. ' ' .. format('%d', quantity) .. rest
end
