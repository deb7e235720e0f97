-- SPDX-License-Identifier: Apache-2.0
-- What job_submit.lua and cli_filter.lua share: an early word on --container=IMAGE, before a job waits in the queue.
-- The nodes decide, by their policy; nothing here can allow what policy denies. Copy the three files beside slurm.conf.

local socker = {}

-- Every image that may be asked for, a name on each line, as `socker images --format names` prints them. Where the
-- file is missing or CATALOGUE is "", every image may be. PINNED lets images pass that are asked for by digest or id.
socker.CATALOGUE = "/var/lib/socker/images.txt"
socker.PINNED = true

-- The feature of the nodes that have socker; "" where all have.
socker.FEATURE = "socker"

local function normal(name)
	local first, rest = name:match("^([^/]+)/(.+)$")
	if first == "docker.io" or first == "index.docker.io" then
		name = rest
	end
	name = name:gsub("^library/([^/]+)$", "%1")
	if not name:match("@") and not name:match(":[^/]*$") then
		name = name .. ":latest"
	end
	return name
end

local function is_listed(image)
	local file = socker.CATALOGUE ~= "" and io.open(socker.CATALOGUE)
	if not file then
		return true
	end
	local wanted, found = normal(image), false
	for line in file:lines() do
		if line ~= "" and normal(line) == wanted then
			found = true
			break
		end
	end
	file:close()
	return found
end

-- What is wrong with an image reference as it was typed; nil if nothing is.
local function fault(image)
	if image == "" then
		return "it is empty"
	end
	if #image > 511 then
		return "it is longer than 511 characters"
	end
	if image:match("[^!-~]") then
		return "it has a character that no image reference has"
	end
	if image:match("^sha256:") then
		return not image:match("^sha256:" .. ("%x"):rep(64) .. "$") and "an id is sha256: and 64 hex digits" or nil
	end
	local name, digest = image:match("^([^@]*)@(.*)$")
	if digest and not digest:match("^sha256:" .. ("%x"):rep(64) .. "$") then
		return "a digest is sha256: and 64 hex digits"
	end
	name = (name or image):gsub(":[%w_][%w_.-]*$", "")
	local host, path = name:match("^([^/]*[.:][^/]*)/(.*)$")
	path = path or name:match("^localhost/(.*)$") or name
	if host and host:match("%u") then
		return "the registry must be lower case"
	end
	if host and not host:match("^[%w%[]") then
		return "this is no registry: " .. host
	end
	if path:match("%u") then
		return "the repository must be lower case"
	end
	if path == "" or path:match("^/") or path:match("/$") or path:match("//") then
		return "a part of the repository is empty"
	end
	if path:match("[^a-z0-9/._-]") or ("/" .. path .. "/"):match("/%.+/") then
		return "this is no repository: " .. path
	end
	return nil
end

-- One line for the user why this image cannot be had; nil if it may be.
function socker.refusal(image)
	local why = fault(image)
	if why then
		return string.format('socker: image reference "%s": %s', image:gsub("[^ -~]", "?"):sub(1, 100), why)
	end
	local pinned = image:match("@") or image:match("^sha256:")
	if not (pinned and socker.PINNED) and not is_listed(image) then
		return string.format('socker: the image "%s" is not in the catalogue; see: socker images', image:sub(1, 100))
	end
	return nil
end

-- Constraints with the feature that containers need.
function socker.features(given)
	if socker.FEATURE == "" then
		return given
	end
	if given == nil or given == "" then
		return socker.FEATURE
	end
	for word in given:gmatch("[%w_.-]+") do
		if word == socker.FEATURE then
			return given
		end
	end
	return "(" .. given .. ")&" .. socker.FEATURE
end

return socker
