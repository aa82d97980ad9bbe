-- Removes the sale and all its reservations, if it is closed and holds nothing. Not before every
-- group that reads the stream has finished with it: orders would be lost.
if not known then return {now, -1} end
if now < closes then return {now, free, 'not_closed'} end
if held > 0 then return {now, free, 'still_held', held} end
local group = busy_group()
if group then
  return refuse('the group ' .. group .. ' has yet to process entries of ' .. STREAM
    .. ': remove the sale when it has, or the group if nobody needs it any more')
end
call('UNLINK', unpack(KEYS))
return {now, -1, 'removed'}
