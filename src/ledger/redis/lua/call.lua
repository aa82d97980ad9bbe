-- How the scripts about a sale call Redis. Precedes them all.
--
-- A refusal before the first write ends the script with an error that starts with UNDONE, which tells
-- the sender that nothing was written. Rights are checked before the first write, so that no later
-- command is refused. If one is refused all the same, the error starts with HALFWAY.
local READS = {TIME = true, EXISTS = true, HGET = true, HMGET = true, HGETALL = true, HSCAN = true,
  XLEN = true, XINFO = true, XRANGE = true, ZRANGE = true, ZRANGEBYSCORE = true}
-- Whether this script has written something.
local wrote = false

-- Runs a command.
local function call(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) == 'table' and reply.err then
    error({err = (wrote and 'HALFWAY ' or 'UNDONE ') .. reply.err})
  end
  wrote = wrote or not READS[command]
  return reply
end

-- Ends the script unless the user may run a write of this kind: call it before the first write,
-- since a right can be taken away at any time. Redis has checked the rights to KEYS before the
-- script. Redis 7 has this check; servers compatible with Redis may lack it.
local function needs(command, key, ...)
  local check = redis.acl_check_cmd
  if check and not check(command, key, ...) then
    error({err = 'UNDONE NOPERM this user may not ' .. command .. ' ' .. key})
  end
end
