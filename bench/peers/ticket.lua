-- Handles purchases in nginx (nginx_lua.conf). It has its own few lines of the Redis protocol, enough
-- for one EVALSHA, since Debian has no Lua client of Redis for nginx.
local ticket = {}

local GRANTED = '{"code":1,"msg":"抢票成功","data":{"reservation":"ticket~%s"}}'
local SOLD_OUT = '{"code":-1,"msg":"已售罄"}'
local UNAVAILABLE = '{"code":-6,"msg":"服务暂不可用，请稍后再试"}'
local HELD = '{"id":"ticket~%s","sale":"ticket","user":"%s","quantity":1,"status":"held"}'
local PROBLEM = '{"type":"about:blank","status":%d,"code":"%s"}'
local ID_CHARACTERS = 26
local CONNECTIONS_KEPT = 1024
local KEPT_MS = 60000
local CONNECT_MS, SEND_MS, ANSWER_MS = 1000, 1000, 2000

local sale = ngx.shared.sale
local host, port, call, order_call

local function word(text)
    return '$' .. #text .. '\r\n' .. text .. '\r\n'
end

-- Sets the address of Redis and the SHAs of the scripts that sell. Without them, the sale is sold out.
function ticket.start(redis_host, redis_port, sha, order_sha)
    if not redis_host then
        sale:set('sold_out', true)
        return
    end
    host, port = redis_host, redis_port
    call = '*7\r\n' .. word('EVALSHA') .. word(sha) .. word('2')
        .. word('ticket_hash_key') .. word('ticket_stream')
    order_call = '*11\r\n' .. word('EVALSHA') .. word(order_sha) .. word('4')
        .. word('ticket_hash_key') .. word('ticket_claims') .. word('ticket_users')
        .. word('ticket_stream')
end

-- Sends a call to Redis. Returns the line of the reply, or nil and the error.
local function ask(packed)
    local redis = ngx.socket.tcp()
    redis:settimeouts(CONNECT_MS, SEND_MS, ANSWER_MS)
    local ok, why = redis:connect(host, port)
    if not ok then
        return nil, why
    end
    ok, why = redis:send(packed)
    if not ok then
        return nil, why
    end
    local line
    line, why = redis:receive()
    if not line then
        return nil, why
    end
    redis:setkeepalive(KEPT_MS, CONNECTIONS_KEPT)
    return line
end

-- Returns 1 (granted), 0 (sold out), or nil and the error.
local function sell(id)
    local line, why = ask(call .. word(id) .. word(ngx.var.http_x_user_id or ''))
    if line == ':1' or line == ':0' then
        return tonumber(line:sub(2))
    end
    return nil, why or line
end

-- Sends the body with a Content-Length, so that it isn't chunked.
local function say(body)
    ngx.header.content_length = #body
    ngx.print(body)
end

local function unavailable(why)
    ngx.log(ngx.ERR, 'Redis: ', why)
    ngx.status = ngx.HTTP_SERVICE_UNAVAILABLE
    say(UNAVAILABLE)
end

local function refuse(status, code)
    ngx.status = status
    ngx.header.content_type = 'application/problem+json'
    say(PROBLEM:format(status, code))
end

function ticket.buy()
    if sale:get('sold_out') then
        return say(SOLD_OUT)
    end
    local id = ngx.var.request_id:sub(1, ID_CHARACTERS)
    local sold, why = sell(id)
    if sold == 1 then
        return say(GRANTED:format(id))
    elseif sold == 0 then
        sale:set('sold_out', true)
        return say(SOLD_OUT)
    end
    unavailable(why)
end

-- A purchase as a shop sends it: a user in the body, an idempotency key, one ticket per user. Redis is
-- asked even after the sale is sold out: the key may already have a ticket.
function ticket.order()
    ngx.req.read_body()
    local body = ngx.req.get_body_data() or ''
    local user, key = body:match('"user":"([^"\\]+)"'), ngx.var.http_idempotency_key
    if not user or not key then
        return refuse(422, 'invalid')
    end
    if not host then
        return refuse(409, 'sold_out')
    end
    local id = ngx.var.request_id:sub(1, ID_CHARACTERS)
    local line, why = ask(order_call .. word(id) .. word(user) .. word(key) .. word('1'))
    local said, held = (line or ''):match('^%+(%d) ?(.*)$')
    if said == '1' or said == '2' then
        ngx.status = said == '1' and ngx.HTTP_CREATED or ngx.HTTP_OK
        return say(HELD:format(held, user))
    elseif said == '0' then
        return refuse(409, 'sold_out')
    elseif said == '3' then
        return refuse(409, 'limit_reached')
    end
    unavailable(why or line)
end

return ticket
