-- Writing what became of reservations, and of what their users have.
local units_of, touched = {}, {}

-- Reads how many units these users have, if the sale has a limit. Gives an error, or nothing.
local function read_users(users)
  if limit == 0 or #users == 0 then return end
  local has = call('HMGET', USERS, unpack(users))
  for i, user in ipairs(users) do
    units_of[user] = integer(has[i], 0, 0, TOTAL_MAX)
    if not units_of[user] then return refuse('a number of units in ' .. USERS .. ' is not one') end
  end
end

-- Units that a user has more (or fewer).
local function add_units(user, units)
  if limit > 0 and user ~= '' then
    units_of[user] = math.max(units_of[user] + units, 0)
    touched[user] = true
  end
end

-- Writes the changed fields, the counts as they shall be and the stream's entry.
local function write(lines, sold_then, held_then)
  call('XLEN', STREAM)
  local now_text, sold_text = format('%d', now), format('%d', sold_then)
  if sold_then > sold then call('HSET', COUNTERS, SOLD_FIELD, sold_text) end
  write_changed()
  local set, gone = {}, {}
  for user in pairs(touched) do
    if units_of[user] > 0 then
      set[#set + 1] = user
      set[#set + 1] = format('%d', units_of[user])
    else
      gone[#gone + 1] = user
    end
  end
  if #set > 0 then call('HSET', USERS, unpack(set)) end
  if #gone > 0 then call('HDEL', USERS, unpack(gone)) end
  call('XADD', STREAM, '*', 'at_ms', now_text, 'reservations', lines)
  call('HSET', SALE, 'held', format('%d', held_then), 'last_ms', now_text)
  if sold_then < sold then call('HSET', COUNTERS, SOLD_FIELD, sold_text) end
  sold, held = sold_then, held_then
  free = math.max(total - sold, 0)
end

local function refuse_held(units)
  return refuse('more units are to leave ' .. SALE .. ' than it says are held: '
    .. format('%d and %d', units, held))
end
