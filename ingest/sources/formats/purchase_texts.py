"""The words by which bills of all vendors tell what a line is for and how it was bought, as regular expressions.

All are matched against lower case with blanks for underscores, by Rust's engine: no look-around. Vendors' own names are from
their bills, price lists and the FOCUS sample; what is unknown falls back to the FOCUS service category.
"""

_SIZE = r"(?:nano|micro|small|medium|\d*x?large|metal|\d+xl)"

# AWS p, g, inf, trn and dl families; m5.large, db.r6g.xlarge and ml.t3.medium are instances too.
_AWS_GPU = rf"\b(?:p[2-9][a-z]*(?:-[a-z0-9]+)?|g[3-9][a-z]*|gr\d[a-z]*|inf\d|trn\d[a-z]*|dl\d[a-z]?)\.{_SIZE}"
# Azure NC, ND and NV: NC24ads A100 v4, ND96isr H100 v5, NVadsA10v5 Series, Standard_NC6s_v3.
_AZURE_GPU = (
    r"\bn[cdv](?:s|r|m|ms|i|is|rs|as|ads|adis|amsr|asr|isr|isrf)?[ -]?"
    r"(?:v\d|\d{1,3}[a-z]*|t4|v100|a10|a100|h100|h200|mi300x?|gb[23]00|series)\b|\bnvads ?a10|\bnc(?:ads|as) ?(?:a100|h100|t4)"
)
# Google: A2 Instance Core, a3-highgpu-8g, G2 Instance Ram, TPU v5e. Oracle VM.GPU.A10.1, IBM gx3-16x80x1l4, Alibaba ecs.gn7i.
_OTHER_GPU = (
    r"\ba[23]-(?:high|ultra|mega|edge)gpu|\b(?:a[234]x?|g[24]) (?:plus |mega |high |edge |ultra )?instance\b|\bg[24]-standard"
    r"|\ba4x?-high|\bgx[23]-|\becs\.(?:gn|vgn|sgn|ebmgn)|\bg[23]-gpu"
)
GPU_WORDS = (
    r"\bgpus?\b|nvidia|\btpu|trainium|inferentia|\bgaudi|\b(?:k80|p100|v100|t4|a10g?|a30|a40|a100|l4|l40s?|h20|h100|h200"
    r"|b200|b300|gb200|gb300|mi2\d\dx?|mi3\d\dx?|rtx ?[a-z]?\d{4}|a[456]000)\b"
)
GPU = rf"{_AWS_GPU}|{_AZURE_GPU}|{_OTHER_GPU}|{GPU_WORDS}"
# Sell little besides GPUs: what is not storage or traffic there is one.
GPU_CLOUDS = (
    r"coreweave|runpod|vast\.ai|\bcrusoe\b|\bnebius\b|lambda (?:labs|cloud)|lambda, inc|\bpaperspace\b|fluidstack"
    r"|voltage park|hyperstack|datacrunch|\bverda\b|genesis cloud|ori global"
)
INSTANCE = rf"\b(?:[a-z]{{1,4}}\d{{1,2}}[a-z0-9-]*|u-\w+|x2\w+|mac\d\w*)\.{_SIZE}\b|\bn[cdv]\d+[a-z]*"
MACHINE = (
    r"boxusage|spotusage|hostusage|hostboxusage|dedicatedusage|heavyusage|unusedbox|nodeusage|esinstance|instanceusage"
    r"|multi-azusage|\binstance(?: hour| hr|s\b| core| ram|-hour)|\bv?cpus?\b|\bocpus?\b|virtual machines?|\bvms?\b|fargate"
    r"|\blambda\b|cloud run|cloud functions|container (?:apps|instances)|app service|azure functions|gb-second|vcpu"
    r"|(?:server|node|compute|core|cluster)[ -]?hours?\b|predefined (?:core|ram)|custom (?:core|ram)|kubernetes|droplet"
)
# Sell machines, volumes and traffic: what is neither of the last two is a machine.
MACHINE_SERVICES = r"\bec2\b|elastic compute cloud|compute engine|virtual machines?"
SERVERLESS = (
    r"fargate|\blambda\b|cloud run|cloud functions|azure functions|container (?:apps|instances)|gb-second|step functions"
    r"|serverless"
)

MODEL_PROVIDERS = (
    r"openai|anthropic|\bcohere\b|\bmistral|\bgroq|deepseek|\bxai\b|\bx\.ai\b|perplexity|\btogether(?: ai|\.ai|ai)\b|fireworks"
    r"|openrouter|\bai21\b|voyage ?ai|elevenlabs|deepgram|assemblyai|stability ai|\bjina\b|cerebras|sambanova|moonshot|\bclaude\b"
    r"|bedrock|gemini|\bpalm api"
)
GENERATIVE = r"generative|\bllms?\b|foundation model|foundry models|gpt|claude|llama|\btokens?\b|embedding"
AI = (
    r"bedrock|sagemaker|openai|cognitive services|\bai (?:services|foundry|studio|platform|inference)|machine learning|vertex"
    r"|gemini|generative ai|watsonx|anthropic|hugging ?face|mosaic ai|model serving|cloud ml"
)
# Sell a place to work on models rather than models; a line of theirs that names no machine and no tokens is a service.
PLATFORMS = r"sagemaker|machine learning|vertex ai workbench|databricks|ml studio"

TRAINING = (
    r"\btrain(?:ing)?\b|\btrain:|-train:|customi[sz]ation|fine[- ]?tun(?:e|ing) (?:job|hour|token)|finetuning job"
    r"|training (?:token|hour|job)|\brft\b|distillation"
)
TUNED = r"fine[- ]?tun|finetun|\bft\b"
SERVING = r"hosting|\bhost\b|inference|\bin(?:put|pt?)?\b|\bout(?:put|p|pt)?\b|\bopt\b|cached|cchd|completion|prompt|storage|deploy"
VECTOR_STORE = (
    r"pinecone|weaviate|\bqdrant|\bmilvus|\bzilliz|\bchroma(?:db)?\b|turbopuffer|lancedb|pgvector"
    r"|vector[ -]?(?:search|stores?|storage|index(?:es)?|database|db|engine|bucket)|s3 ?vectors|vectors-|knowledge ?bases?\b"
    r"|opensearch serverless|(?:search|indexing) ?ocu\b|-ocu\b|\bkendra\b|azure ai search|azure cognitive search|azure search"
    r"|cognitive search|matching engine|vertex ai search|discovery engine|file[ -]?search (?:storage|gb)|\brag engine\b"
)
PROVISIONED = (
    r"provisioned|\bptus?\b|\bptu\b|model ?units?\b|\bgsus?\b|scale unit|custom ?model ?(?:import|unit)|\bcmus?\b"
    r"|\b(?:model|deployment|endpoint|ft|fine[- ]?tuned)[ -](?:\w+ )?hosting|hosting (?:unit|hour)|reserved tokens|scale tier"
)
SERVERLESS_INFERENCE = (
    r"serverless ?inf|serverless[ -]real[ -]?time inf|inference endpoints? serverless|\breplicate\b|baseten|modal labs"
    r"|\bfal\.ai\b|\bfal ai\b|runpod serverless|cloud inference api"
)

TAX = r"^(?:sales |us |value added )?(?:tax|vat|gst)(?:es)?\b"
SUPPORT = (
    r"aws ?support|(?:premium|business|enterprise|developer|basic|technical|standard|unified|premier|production|enhanced) support"
    r"|support (?:plan|fee|\()|azure support|^support\b|google cloud support"
)
ENERGY = r"electricity|\bkwh\b|\bmwh\b|^energy\b|energy (?:cost|charge|usage)|power consumption"
STAFF = (
    r"\bstaff\b|\bsalar(?:y|ies)\b|payroll|labou?r (?:cost|hour)|person[- ](?:hour|day|month)|professional services"
    r"|consult(?:ing|ancy)\b|^contractors?\b"
)
LICENCE_FEE = r"licensing fee|licen[cs]e (?:fee|cost)|\blicen[cs]es\b|software usage|(?:aws|azure) marketplace"
SEATS = (
    r"licen[cs]|\bseats?\b|per user|subscription fee|\bcopilot\b|chatgpt (?:team|enterprise|business|edu|plus|pro)"
    r"|claude (?:team|max|enterprise|pro\b)|user[- ]month"
)
NETWORK = (
    r"data ?transfer|\begress|\bingress|\bbandwidth\b|nat ?gateway|load ?balanc|\blcu(?:usage)?\b|\b[aen]lb\b|\bvpn\b"
    r"|transit ?gateway|private ?(?:link|endpoint)|vpc ?endpoint|vpcpeering|cloudfront|\bcdn\b|direct ?connect|express ?route"
    r"|interconnect|public ip|ip address|elastic ?ip|inter[- ]?(?:zone|region)|network (?:egress|ingress|internet|inter)"
    r"|front door|cloud nat|cloud dns|route ?53|virtual network|virtual private cloud|dns quer|-in-bytes|-out-bytes|outbound data"
)
# A volume or snapshot, whatever it hangs on; then storage in general.
STORED = (
    r"volume ?usage|snapshot|gb-?mo|byte ?hrs|bytehours|gb ?month|gib[- ]month|tib[- ]month|piops|iops|mibps|managed disks?"
    r"|persistent disk|\bpd capacity|file storage|model ?storage"
)
STORAGE = (
    r"storage(?: data|$|[ |:,.)])|\bstored\b|\bebs\b|\bs3\b|\bbackups?\b|\bblobs?\b|\bdisks?\b|\bssd\b|\bhdd\b|archive|glacier"
    r"|\befs\b|\bfsx\b|lustre|filestore|data lake|hyperdisk|file ?system|timedstorage|object store|requests-tier"
)

SPOT = r"\bspot|preemptible|low ?priority|spotusage|interruptible"
SAVINGS_PLAN = r"savings ?plan|savingsplan|billingbenefits|compute ?flexible|flexible cud|spend[- ]based|\bspend\b"
COMMITMENT = (
    r"reserved[- ]?(?:instance|capacity|node|ocpu)|\breservation fee|reservation, |covered by a reservation|heavyusage"
    r"|savings ?plan|committed use|commitment v\d|commitment[ -](?:fee|term)|compute ?savings|\d+[- ]?(?:month|year|yr) commitment"
    r"|capacity ?blocks?|\breserved\b"
)
# Capacity that is held for us without a discount costs what it costs on demand, used or not.
HELD = r"unusedbox|unuseddedicated|capacity ?reservation|^reservation:|reservation:[a-z]\w*\."
