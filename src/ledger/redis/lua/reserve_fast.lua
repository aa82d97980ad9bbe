-- Sells the common kind of run: enough units for all requests, an open sale, only new claims, no user
-- above the limit. For any other run this returns nothing and undoes its writes, and sell_any decides
-- (call.lua to reserve.lua). This script is fast and sell_any is complete. Where both grant, they must
-- write the same.
--
-- The most expensive operations, in instructions of Redis: a redis.call (4,000, and those of the
-- command), a field that HMGET returns (2,000), a string (500, and 10 per character, since Redis' Lua
-- hashes every string). So nothing is read or converted to a text twice, and nothing is read that a
-- write returns.
--
-- A sale has 5 to 7 KEYS: counters, sale, reservations, deadlines, stream, then claims if a request of
-- the run has a key, then users if a request names a user. It has 5 ARGV:
--   1, 2  the fields of the total and of the sold units
--   3     the requests. For a single request for one unit: its id. Else columns, as MessagePack:
--         - the number of requests, the number of units, the largest number of one request
--         - 2 if two requests have the same claim or one has details, which this script does not
--           handle; else 1 if two have the same user; else 0
--         - the names of the fields of reservations
--         - for each field its text in pieces, with the deadline to go between them; or, if all
--           requests have a key and ask for one unit, the number of its last request
--   4     the user of a single request; else, as MessagePack, the user of each request, '' if anonymous.
--         Empty if all are anonymous
--   5     the key of a single request; else, as MessagePack, the claim (user, tab, key) and the id of each
--         request that has a key. Empty if no request has a key
--
-- If requests have traces, one more ARGV follows all sales, as MessagePack. Per sale with traces it has
-- the sale's number in the call, from 0, and a line per request with a trace: id, request id and
-- traceparent, separated by spaces. The lines go to a field of the stream's entry and have no other
-- effect.
local KEYS, ARGV = KEYS, ARGV
local arguments, traces = #ARGV, nil
if arguments % 5 == 2 then
  local list = {cmsgpack.unpack(ARGV[arguments])}
  arguments, traces = arguments - 1, {}
  for i = 1, #list, 2 do traces[list[i]] = list[i + 1] end
end
-- The position before the sale's first key in KEYS and argument in ARGV, and whether the sale was
-- written to.
local k, a, wrote = 0, 1, false
-- The values of the reply.
local replies_n = 0

-- Continues until it meets a sale that it can't handle, or the end. A text that is no number is an
-- error of Lua's arithmetic here, which sell.lua handles like such a sale. `epoch` is a text.
local function sell_plain(replies, now_ms, epoch)
  --[[bounds]]
  local call, try, format, find, sub, unpack, concat =
    redis.call, redis.pcall, string.format, string.find, string.sub, unpack, table.concat
  local unpack_columns = cmsgpack.unpack
  local KEYS, ARGV, arguments, traces = KEYS, ARGV, arguments, traces
  -- Values that most sales of a call share, as texts and as numbers.
  local total_text, total, hold_text, hold
  local now_seen, now_text, deadline_seen, deadline

  local function is_whole(n, min, max)
    return n >= min and n <= max and n % 1 == 0
  end

  -- The additions for the current sale: a command that undoes each, its key, and its argument.
  local added, added_n = {}, 0

  local function note(command, key, what)
    added[added_n + 1], added[added_n + 2], added[added_n + 3] = command, key, what
    added_n, wrote = added_n + 3, true
  end

  local function add_field(key, field, value)
    local is_new = try('HSETNX', key, field, value) == 1
    if is_new then note('HDEL', key, field) end
    return is_new
  end

  local function add_deadline(key, deadline, name)
    local member = name .. ':' .. deadline
    local is_new = try('ZADD', key, deadline, member) == 1
    if is_new then note('ZREM', key, member) end
    return is_new
  end

  local function take_back()
    for i = 1, added_n, 3 do call(added[i], added[i + 1], added[i + 2]) end
    wrote = false
  end

  while a < arguments do
    local counters_key, sale_key, reservations_key = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
    local asked, who, keyed = ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]

    -- The state of the sale: the checks of sale.lua.
    local sold_field = ARGV[a + 2]
    local counters = call('HMGET', counters_key, ARGV[a + 1], sold_field)
    local sold_text = counters[2]
    if counters[1] ~= total_text then
      total_text = counters[1]
      total = not find(total_text, '%D') and total_text + 0 or TOTAL_MAX + 1
    end
    if not sold_text or find(sold_text, '%D') or total > TOTAL_MAX then return end
    local sold = sold_text + 0
    local set
    if epoch then
      set = call('HMGET', sale_key, 'held', 'hold_ms', 'opens_at_ms', 'closes_at_ms', 'limit_per_user',
        'last_ms', 'split', 'confirmed', 'format', 'returned', 'epoch')
      if set[11] ~= epoch then return end
    else
      set = call('HMGET', sale_key, 'held', 'hold_ms', 'opens_at_ms', 'closes_at_ms', 'limit_per_user',
        'last_ms', 'split', 'confirmed', 'format', 'returned')
    end
    local format_text = set[9]
    if format_text and (find(format_text, '%D') or format_text + 0 > FORMAT_PLAIN_MAX) then return end
    local held, confirmed = set[1], set[8]
    if held == sold_text then
      if confirmed and confirmed ~= '0' then return end
      held = sold
    else
      held = (held or 0) + 0
      if not is_whole(held, 0, sold) then return end
      if confirmed and not is_whole(confirmed + 0, 0, sold - held) then return end
    end
    if not hold or set[2] ~= hold_text then
      hold_text = set[2]
      hold = (hold_text or HOLD_MS_DEFAULT) + 0
      if not is_whole(hold, 1, HOLD_MS_MAX) then
        hold = nil
        return
      end
    end
    local now, last, opens, closes, limit = now_ms, set[6], set[3], set[4], set[5]
    if last then
      last = last + 0
      if not is_whole(last, 0, TIME_MS_MAX) then return end
      if last > now then now = last end
    end
    if opens and opens ~= '0' then
      opens = opens + 0
      if not is_whole(opens, 0, TIME_MS_MAX) or now < opens then return end
    end
    if closes and closes ~= TIME_MS_MAX_TEXT then
      closes = closes + 0
      if not is_whole(closes, 0, TIME_MS_MAX) or now >= closes then return end
    end
    if now >= TIME_MS_MAX then return end
    if not limit or limit == '0' then
      limit = nil
    else
      limit = limit + 0
      -- A sale with a limit grants nothing without a user; sell_any replies.
      if not is_whole(limit, 1, LIMIT_MAX) or who == '' then return end
    end
    if set[7] then
      -- The head of a split sale sells nothing.
      local parts = string.match(set[7], '^of (%d+)$')
      if not parts or not is_whole(parts + 0, 2, SPLITS_MAX) then return end
    end

    -- Few sales reach this number of returned reservations.
    local returned = set[10]
    if returned and returned + 0 >= RETURNED_MAX and returned + 0 >= RETURNED_PER_UNIT * total
      and not set[7] then
      return
    end

    -- The run.
    local count, units, names, texts, claims = 1, 1, nil, nil, nil
    local is_single = #asked == ID_BYTES
    if not is_single then
      local most, twice
      count, units, most, twice, names, texts = unpack_columns(asked)
      if twice == 2 or limit and (twice == 1 or most > 1) then return end
      if most > 1 then
        local max = (call('HGET', sale_key, 'quantity_max') or QUANTITY_MAX_DEFAULT) + 0
        if not is_whole(max, 1, QUANTITY_MAX) or most > max then return end
      end
      if keyed ~= '' then claims = {unpack_columns(keyed)} end
    elseif keyed ~= '' then
      claims = {who .. '\t' .. keyed, asked}
    end
    if units > total - sold then return end

    -- With many requests, claims and users are read first. With one request, they are written only if
    -- they are new, and the reply says whether they were.
    local claims_key = claims and KEYS[k + 6]
    local users_key = limit and KEYS[k + (claims and 7 or 6)]
    local new_users
    if claims and not is_single then
      local asked_claims, n = {}, 0
      for i = 1, #claims, 2 do
        n = n + 1
        asked_claims[n] = claims[i]
      end
      local earlier = call('HMGET', claims_key, unpack(asked_claims))
      for i = 1, n do
        if earlier[i] then return end
      end
    end
    if limit and not (is_single and limit == 1) then
      local users = is_single and {who} or {unpack_columns(who)}
      local has = call('HMGET', users_key, unpack(users))
      new_users = {}
      local n = 0
      for i = 1, count do
        local user, has_then = users[i], '1'
        if user == '' then return end
        if has[i] then
          has_then = has[i] + 1
          if not is_whole(has_then, 1, limit) then return end
          has_then = format('%d', has_then)
        end
        new_users[n + 1] = user
        n = n + 2
        new_users[n] = has_then
      end
    end

    -- Writes that can be refused, or that must find nothing, come first, and are undone if
    -- something is wrong. After them come writes to keys whose type was checked, by commands that
    -- were not refused before.
    if now + hold ~= deadline_seen then
      deadline_seen = now + hold
      deadline = format('%d', deadline_seen)
    end
    if now ~= now_seen then now_seen, now_text = now, format('%d', now) end
    local deadlines_key, text, is_new = KEYS[k + 4], nil, true
    if is_single then
      local name = sub(asked, 1, PREFIX)
      text = claims and claims[1] or who
      text = text == '' and asked .. ' held 1 ' .. deadline .. '\n'
        or asked .. ' held 1 ' .. deadline .. ' ' .. text .. '\n'
      is_new = (new_users or not limit or add_field(users_key, who, '1'))
        and (not claims or add_field(claims_key, claims[1], asked))
        and add_field(reservations_key, name, text) and add_deadline(deadlines_key, deadline, name)
    else
      local list = texts
      local of_keys = type(texts[1]) == 'number'
      if of_keys then
        list = {}
        local between = ' held 1 ' .. deadline .. ' '
        local n = 0
        for i = 2, 2 * count, 2 do
          list[n + 1] = claims[i]
          list[n + 2] = between
          list[n + 3] = claims[i - 1]
          n = n + 4
          list[n] = '\n'
        end
      end
      local all, from = {}, 1
      for i = 1, #names do
        local name = names[i]
        if of_keys then
          all[i], from = concat(list, '', from, 4 * texts[i]), 4 * texts[i] + 1
        else
          all[i] = concat(list[i], deadline)
        end
        is_new = is_new and add_field(reservations_key, name, all[i])
          and add_deadline(deadlines_key, deadline, name)
      end
      text = #all == 1 and all[1] or concat(all)
    end
    local sold_then = format('%d', sold + units)
    local is_counted = is_new and try('HSET', counters_key, sold_field, sold_then) == 0
    local told
    if is_counted then
      local found_by = traces and traces[(a - 1) / 5]
      if found_by then
        told = try('XADD', KEYS[k + 5], '*', 'at_ms', now_text, 'reservations', text, 'traces', found_by)
      else
        told = try('XADD', KEYS[k + 5], '*', 'at_ms', now_text, 'reservations', text)
      end
    end
    -- Only an entry in the stream makes a promise: the reply is its id, or else an error.
    if type(told) ~= 'string' then
      if is_counted then call('HSET', counters_key, sold_field, sold_text) end
      return take_back()
    end
    call('HSET', sale_key, 'held', held == sold and sold_then or format('%d', held + units), 'last_ms',
      now_text)
    if new_users then call('HSET', users_key, unpack(new_users)) end
    if claims and not is_single then call('HSET', claims_key, unpack(claims)) end
    local n = replies_n
    replies[n + 1], replies[n + 2], replies[n + 3], replies[n + 4], replies[n + 5] =
      4, now, total - sold - units, deadline_seen, 'G'
    replies_n, added_n, wrote = n + 5, 0, false
    k, a = k + 5 + (keyed ~= '' and 1 or 0) + (who ~= '' and 1 or 0), a + 5
  end
end
