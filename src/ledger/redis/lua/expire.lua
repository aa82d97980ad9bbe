-- Returns expired units to stock. A member of the deadlines is the name of a field of reservations,
-- a colon and a deadline, so ARGV[4], about how many reservations to read, ends between two fields.
-- A missing field was deleted by hand: nothing is known to return.
--
-- Reply: time, units left, 'released', units, whether more is due, the earliest deadline that is
-- left (absent if none is): no later than that of any held reservation.
if not known then return {now, -1} end
local batch_max = math.min(tonumber(ARGV[4]), EXPIRE_MAX)
local due = format('%d', now)
local expired, by_user, users, units = {}, {}, {}, 0
local done, looked_at = {}, 0

-- The line after the change, or nothing if it is invalid.
local function look_at(line)
  looked_at = looked_at + 1
  local _, held_end = find(line, '^%w+ held ')
  if not held_end then
    return find(line, '^%w+ %l+ %d+ %d+') and line
  end
  local _, quantity, deadline, user, details = parse(line, held_end - 4, #line)
  if not quantity then return end
  if deadline > now then return line end
  if types then
    local lines = lines_of(details, quantity)
    if not lines then return end
    count_types(lines, 'held', -1)
  end
  units = units + quantity
  if user ~= '' then
    if not by_user[user] then users[#users + 1] = user end
    by_user[user] = (by_user[user] or 0) + quantity
  end
  line = sub(line, 1, held_end - 5) .. 'expired' .. sub(line, held_end)
  expired[#expired + 1] = line .. '\n'
  return line
end

while looked_at < batch_max do
  local members = call('ZRANGEBYSCORE', DEADLINES, '-inf', due, 'LIMIT', #done, 16)
  if #members == 0 then break end
  for _, member in ipairs(members) do
    if looked_at >= batch_max then break end
    local name = match(member, '^(%w+):%d+$')
    if not name then return refuse('no field in ' .. DEADLINES .. ': ' .. member) end
    local lines, before = {}, units
    for line in string.gmatch(field(name), '[^\n]+') do
      lines[#lines + 1] = look_at(line)
      if not lines[#lines] then return refuse_line(line) end
    end
    if endless then return refuse_endless() end
    if #lines == 0 then looked_at = looked_at + 1 end
    if units > before then
      fields[name] = concat(lines, '\n') .. '\n'
      changed[name] = true
    end
    done[#done + 1] = member
  end
end

-- Checked first: in a Cluster, a removed key can't be read while its slot is moving.
local first = call('ZRANGE', DEADLINES, #done, #done, 'WITHSCORES')
if units > 0 then
  if units > held then return refuse_held(units) end
  local overdrawn = types and overdrawn_type()
  if overdrawn then return refuse_type(overdrawn) end
  local failure = read_users(users)
  if failure then return failure end
  for user, fewer in pairs(by_user) do add_units(user, -fewer) end
  needs('ZREM', DEADLINES, 'a')
  write(concat(expired), sold - units, held - units, nil, nil, #expired)
end
if #done > 0 then call('ZREM', DEADLINES, unpack(done)) end
if not first[2] then return {now, free, 'released', units, 0} end
local next_due = math.max(math.min(tonumber(first[2]), TIME_MS_MAX), 0)
return {now, free, 'released', units, next_due <= now and 1 or 0, next_due}
