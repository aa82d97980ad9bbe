-- Puts the units of held reservations back that have been changed.
-- lines: what the stream is told of them; by_user: units to take off each user.
-- Returns nil, or the error that stopped it before its first write.
local function release(lines, units, by_user)
  if units > held then
    return refuse('more units to give back than are held in ' .. SALE .. ': '
      .. format('%d and %d', units, held))
  end
  call('XLEN', STREAM)
  local set, gone = {}, {}
  if limit > 0 then
    for user, less in pairs(by_user) do
      local has = integer(call('HGET', USERS, user), 0, 0, TOTAL_MAX)
      if not has then return refuse('a number of units in ' .. USERS .. ' is not one') end
      if has > less then
        set[#set + 1] = user
        set[#set + 1] = format('%d', has - less)
      else
        gone[#gone + 1] = user
      end
    end
  end
  write_changed()
  if #set > 0 then call('HSET', USERS, unpack(set)) end
  if #gone > 0 then call('HDEL', USERS, unpack(gone)) end
  call('XADD', STREAM, '*', 'reservations', lines)
  held, sold = held - units, sold - units
  free = math.max(total - sold, 0)
  call('HSET', SALE, 'held', format('%d', held), 'last_ms', format('%d', now))
  call('HSET', COUNTERS, SOLD_FIELD, format('%d', sold))
end
