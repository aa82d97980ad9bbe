-- The name of a group that has not finished reading the stream, if there is one.
local function busy_group()
  if call('EXISTS', STREAM) == 0 then return end
  for _, group in ipairs(call('XINFO', 'GROUPS', STREAM)) do
    local is = {}
    for i = 1, #group, 2 do is[group[i]] = group[i + 1] end
    local unread = '(' .. is['last-delivered-id']
    if is.pending > 0 or #call('XRANGE', STREAM, unread, '+', 'COUNT', 1) > 0 then return is.name end
  end
end
