-- Which commands the user may not run, or this Redis does not have. Runs none of them. ARGV[1] is a key
-- of ours, and each further one a command with arguments, parted by spaces; @ stands for the key.
--
-- Reply: the places of those commands, from 1, negative if there is no such command; or nothing, where
-- this can't be asked (Redis can since 7.0).
local check = redis.acl_check_cmd
if not check then return false end
local wrong = {}
for i = 2, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[i], '%S+') do words[#words + 1] = word == '@' and ARGV[1] or word end
  local known, may = pcall(check, unpack(words))
  if not known then
    wrong[#wrong + 1] = 1 - i
  elseif not may then
    wrong[#wrong + 1] = i - 1
  end
end
return wrong
