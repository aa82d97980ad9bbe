-- Forgets the sale and all its reservations, if it is closed and holds nothing. Not as long as a
-- group that reads the stream has not done with it: orders would be lost.
if not known then return {now, -1} end
if now < closes then return {now, free, 'not_closed'} end
if held > 0 then return {now, free, 'still_held', held} end
if call('EXISTS', STREAM) == 1 then
  for _, group in ipairs(call('XINFO', 'GROUPS', STREAM)) do
    local is = {}
    for i = 1, #group, 2 do is[group[i]] = group[i + 1] end
    local unread = '(' .. is['last-delivered-id']
    if is.pending > 0 or #call('XRANGE', STREAM, unread, '+', 'COUNT', 1) > 0 then
      return refuse('the group ' .. is.name .. ' has yet to process entries of ' .. STREAM
        .. ': remove the sale when it has, or the group if nobody needs it any more')
    end
  end
end
call('UNLINK', unpack(KEYS))
return {now, -1, 'removed'}
