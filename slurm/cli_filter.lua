-- SPDX-License-Identifier: Apache-2.0
-- CliFilterPlugins=lua: what srun, sbatch and salloc say at once. It runs as the user, who can get around it: it spares
-- waiting, it protects nothing. A step inside a job is seen here only.

local socker = dofile("/etc/slurm/socker.lua")

function slurm_cli_setup_defaults(options, early_pass)
	return slurm.SUCCESS
end

function slurm_cli_pre_submit(options, pack_offset)
	local image = options["container"]
	if image == nil or image == "" then
		return slurm.SUCCESS
	end
	local refusal = socker.refusal(image)
	if refusal then
		slurm.log_error("%s", refusal)
		return slurm.ERROR
	end
	return slurm.SUCCESS
end

function slurm_cli_post_submit(offset, job_id, step_id)
	return slurm.SUCCESS
end
