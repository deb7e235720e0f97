-- SPDX-License-Identifier: Apache-2.0
-- JobSubmitPlugins=lua: what the controller does with every job that asks for a container, whoever submits it.

local socker = dofile("/etc/slurm/socker.lua")

function slurm_job_submit(job_desc, part_list, submit_uid)
	local image = job_desc.container
	if image == nil or image == "" then
		return slurm.SUCCESS
	end
	local refusal = socker.refusal(image)
	if refusal then
		slurm.log_user("%s", refusal)
		return slurm.ERROR
	end
	-- a job that must run on other nodes is then refused by Slurm itself
	job_desc.features = socker.features(job_desc.features)
	-- Only srun, sbatch and salloc set SLURM_CONTAINER, by which the nodes learn that a container was asked for. Batch
	-- jobs from elsewhere (slurmrestd, say) would run on the host without it.
	if job_desc.script ~= nil and job_desc.script ~= "" then
		if job_desc.environment == nil then
			slurm.log_user("socker: a job with a container needs an environment; give it at least PATH")
			return slurm.ERROR
		end
		job_desc.environment["SLURM_CONTAINER"] = image
	end
	return slurm.SUCCESS
end

function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
	return slurm.SUCCESS
end
