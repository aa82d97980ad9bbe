-- How the scripts about a sale speak to Redis. Stands before them all.
--
-- What Redis refuses before the first write ends the script with an error that starts with UNDONE:
-- nothing was written, and whoever asked is told so. So that nothing is refused behind it, rights are
-- looked at first; if something is all the same, the error starts with HALFWAY.
local READS = {TIME = true, EXISTS = true, HGET = true, HMGET = true, HGETALL = true, HSCAN = true,
  XLEN = true, XINFO = true, XRANGE = true, ZRANGE = true, ZRANGEBYSCORE = true}
-- Whether this script has written something.
local wrote = false

-- Carries out a command.
local function call(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) == 'table' and reply.err then
    error({err = (wrote and 'HALFWAY ' or 'UNDONE ') .. reply.err})
  end
  wrote = wrote or not READS[command]
  return reply
end

-- Ends the script unless the user may carry out a write of this kind: to be asked before the first
-- write, for a right can be taken away at any time. The rights to KEYS Redis has looked at before it
-- began. Redis 7 can be asked, and what is no Redis may not know how.
local function needs(command, key, ...)
  local check = redis.acl_check_cmd
  if check and not check(command, key, ...) then
    error({err = 'UNDONE NOPERM this user may not ' .. command .. ' ' .. key})
  end
end
