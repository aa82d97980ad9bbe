-- Returns what was held past its deadline to stock. A member of the deadlines is the ids of one
-- batch, 26 characters each, so ARGV[4], about how many reservations to look at, ends between two
-- members. An id without a reservation was deleted by hand: nothing is known to return.
if not known then return {now, -1} end
local batch_max = math.min(tonumber(ARGV[4]), EXPIRE_MAX)
local due = format('%d', now)
local records, by_user, units = {}, {}, 0
local done, looked_at = {}, 0

while looked_at < batch_max do
  local members = call('ZRANGEBYSCORE', DEADLINES, '-inf', due, 'LIMIT', #done, 16)
  if #members == 0 then break end
  for _, member in ipairs(members) do
    if looked_at >= batch_max then break end
    if #member % 26 ~= 0 then return refuse('no ids in ' .. DEADLINES .. ': ' .. member) end
    for at = 1, #member, 26 do
      local id = sub(member, at, at + 25)
      local value = stored(id)
      if value and sub(value, 1, 5) == 'held ' then
        local status, quantity, rest, user = parse(value)
        if not status then
          return refuse('reservation ' .. id .. ' of ' .. RESERVATIONS .. ': ' .. value)
        end
        replace(id, 'expired' .. rest)
        records[#records + 1] = id .. rest
        units = units + quantity
        if user ~= '' then by_user[user] = (by_user[user] or 0) + quantity end
      end
    end
    done[#done + 1] = member
    looked_at = looked_at + #member / 26
  end
end

if units > 0 then
  local failure = release('expired', records, units, by_user)
  if failure then return failure end
end
if #done > 0 then call('ZREM', DEADLINES, unpack(done)) end
local more = call('ZCOUNT', DEADLINES, '-inf', due) > 0 and 1 or 0
return {now, free, 'released', units, more}
