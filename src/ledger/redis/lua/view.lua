-- The reply that shows the whole sale: after its rules the ticket types, '' if it has none, and the
-- held and confirmed units of each. For a split sale's head or part also its text, and the units
-- that it has sent to and received from each place, by their numbers from 0, the head; and for the
-- head the units of all places together, '' if they were never noted.
local function view(outcome)
  free = math.max(total - sold, 0)
  local reply = {now, free, outcome, total, sold, held, hold, opens, closes, limit, quantity_max,
    creation, extend_max, quantity_min, reservations_max or -1, user_max, types or ''}
  for _, name in ipairs(type_names or {}) do
    reply[#reply + 1] = by_type[name].held
    reply[#reply + 1] = by_type[name].confirmed
  end
  if not parts then return reply end
  local names = {}
  for n = 0, parts do names[n + 1] = 'gave_' .. n end
  for n = 0, parts do names[parts + 2 + n] = 'took_' .. n end
  reply[#reply + 1] = split
  for i, text in ipairs(call('HMGET', SALE, unpack(names))) do
    local units = integer(text, 0, 0, MOVED_MAX)
    if not units then
      return refuse(names[i] .. ' of ' .. SALE .. ' is no number of units')
    end
    reply[#reply + 1] = units
  end
  if is_head then
    local stock = integer(call('HGET', SALE, 'stock'), nil, 0, MOVED_MAX)
    reply[#reply + 1] = stock and format('%d', stock) or ''
  end
  return reply
end
