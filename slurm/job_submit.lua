-- SPDX-License-Identifier: Apache-2.0
-- An example for sites whose users submit through slurmrestd or other programs that are not srun, sbatch or salloc:
-- only those set SLURM_CONTAINER, by which the nodes learn that a container was asked for. Batch jobs without it
-- would run on the host; here they get it.

function slurm_job_submit(job_desc, part_list, submit_uid)
	if job_desc.container ~= nil and job_desc.container ~= "" and job_desc.script ~= nil then
		if job_desc.environment == nil then
			slurm.log_user("socker: a job with a container needs an environment; give it at least PATH")
			return slurm.ERROR
		end
		job_desc.environment["SLURM_CONTAINER"] = job_desc.container
	end
	return slurm.SUCCESS
end

function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
	return slurm.SUCCESS
end
