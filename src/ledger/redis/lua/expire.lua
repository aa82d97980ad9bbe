-- Returns what was held past its deadline to stock. A member of the deadlines is the name of a field
-- of reservations, a colon and a deadline, so ARGV[4], about how many reservations to look at, ends
-- between two fields. A field that is not there was deleted by hand: nothing is known to return.
if not known then return {now, -1} end
local batch_max = math.min(tonumber(ARGV[4]), EXPIRE_MAX)
local due = format('%d', now)
local expired, by_user, units = {}, {}, 0
local done, looked_at = {}, 0

-- The line as it shall stand.
local function look_at(line)
  looked_at = looked_at + 1
  local id, value = match(line, '^(%w+) (held .*)$')
  if not id then return line end
  local _, quantity, rest, user = parse(value)
  if not quantity then return end
  if tonumber(match(rest, '^ %d+ (%d+)')) > now then return line end
  units = units + quantity
  if user ~= '' then by_user[user] = (by_user[user] or 0) + quantity end
  line = id .. ' expired' .. rest
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
      if not lines[#lines] then return refuse('a line of ' .. RESERVATIONS .. ': ' .. line) end
    end
    if units > before then
      fields[name] = table.concat(lines, '\n') .. '\n'
      changed[name] = true
    end
    done[#done + 1] = member
  end
end

if units > 0 then
  local failure = release(table.concat(expired), units, by_user)
  if failure then return failure end
end
if #done > 0 then call('ZREM', DEADLINES, unpack(done)) end
local more = call('ZCOUNT', DEADLINES, '-inf', due) > 0 and 1 or 0
return {now, free, 'released', units, more}
