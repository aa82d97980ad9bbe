-- Sells from each sale of the call, one after the other. A failure of one sale is an error in its place
-- in the reply, and the other sales sell.
--
-- Reply, per sale: the number of values that follow, and the values (see reserve.lua); or an error. A
-- single letter G means that the whole run was granted.
-- Redis' time in ms, or that of a replayed history; the sender's epoch of the Sentinels, if it has one.
local now_ms, epoch
if ARGV[1] ~= '' then
  now_ms, epoch = string.match(ARGV[1], '^(%d*)@?(%d*)')
  now_ms, epoch = tonumber(now_ms), epoch ~= '' and epoch
end
if not now_ms then
  local time = redis.call('TIME')
  now_ms = time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
end

local replies = {}
while a < arguments do
  local _, failure = pcall(sell_plain, replies, now_ms, epoch)
  if a < arguments then
    local has_claims, has_users = ARGV[a + 5] ~= '', ARGV[a + 4] ~= ''
    local keys = 5 + (has_claims and 1 or 0) + (has_users and 1 or 0)
    local done, reply = false, failure
    if not wrote then
      -- A key that stands in for claims or users, which a run without them does not use.
      local none = KEYS[k + 3]
      local own = {ARGV[1], unpack(ARGV, a + 1, a + 5)}
      own[7] = traces and traces[(a - 1) / 5]
      done, reply = pcall(sell_any, {KEYS[k + 1], KEYS[k + 2], none, has_claims and KEYS[k + 6] or none,
        has_users and KEYS[k + keys] or none, KEYS[k + 4], KEYS[k + 5]}, own)
    end
    if not done then
      -- Redis 6 has the text of an error where Redis 7 has a table.
      local text = type(reply) == 'table' and reply.err or tostring(reply)
      if wrote or string.sub(text, 1, 7) ~= 'UNDONE ' then text = 'HALFWAY ' .. text end
      reply = {err = text}
    end
    replies_n = replies_n + 1
    if reply.err then
      replies[replies_n] = reply
    else
      replies[replies_n] = #reply
      for i = 1, #reply do replies[replies_n + i] = reply[i] end
      replies_n = replies_n + #reply
    end
    k, a, wrote = k + keys, a + 5, false
  end
end
return replies
