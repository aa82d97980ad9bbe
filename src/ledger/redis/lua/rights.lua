-- Finds the commands that the user may not run, or that this Redis lacks. Runs none of them.
-- ARGV[1] is a key of ours, and each further argument a command with its arguments, separated by
-- spaces; @ stands for the key.
--
-- Reply: the positions of those commands, from 1, negative if there is no such command; or nothing,
-- if this can't be checked (Redis can since 7.0).
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
