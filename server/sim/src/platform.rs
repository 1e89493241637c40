//! The operating systems of the simulated nodes, and what agents and EC2 say of them.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Platform {
    AmazonLinux2,
    AmazonLinux2023,
    Ubuntu2204,
    Rhel8,
    Windows2019,
    Windows2022,
    /// Linux that Patch Manager does not know (S 10.2.4).
    Bottlerocket,
}

impl Platform {
    /// AWS's operating system, product, and what the agent reports: type, name, version (S 10.1.6, 10.1.9).
    fn facts(self) -> [&'static str; 5] {
        match self {
            Self::AmazonLinux2 => ["AMAZON_LINUX_2", "AmazonLinux2", "Linux", "Amazon Linux", "2"],
            Self::AmazonLinux2023 => ["AMAZON_LINUX_2023", "AmazonLinux2023", "Linux", "Amazon Linux", "2023"],
            Self::Ubuntu2204 => ["UBUNTU", "Ubuntu22.04", "Linux", "Ubuntu", "22.04"],
            Self::Rhel8 => {
                ["REDHAT_ENTERPRISE_LINUX", "RedhatEnterpriseLinux8.6", "Linux", "Red Hat Enterprise Linux", "8.6"]
            }
            Self::Windows2019 => {
                ["WINDOWS", "WindowsServer2019", "Windows", "Microsoft Windows Server 2019 Datacenter", "10.0.17763"]
            }
            Self::Windows2022 => {
                ["WINDOWS", "WindowsServer2022", "Windows", "Microsoft Windows Server 2022 Datacenter", "10.0.20348"]
            }
            Self::Bottlerocket => ["", "", "Linux", "Bottlerocket OS", "1.19.2"],
        }
    }

    /// Empty where no baseline fits.
    pub(crate) fn system(self) -> &'static str {
        self.facts()[0]
    }

    pub(crate) fn product(self) -> &'static str {
        self.facts()[1]
    }

    pub(crate) fn platform_type(self) -> &'static str {
        self.facts()[2]
    }

    pub(crate) fn platform_name(self) -> &'static str {
        self.facts()[3]
    }

    pub(crate) fn platform_version(self) -> &'static str {
        self.facts()[4]
    }

    pub(crate) fn is_windows(self) -> bool {
        self.platform_type() == "Windows"
    }

    pub(crate) fn is_supported(self) -> bool {
        self != Self::Bottlerocket
    }

    /// S 4.7.9.
    pub(crate) fn package_manager(self) -> &'static str {
        match self {
            Self::AmazonLinux2 => "yum",
            Self::Ubuntu2204 => "apt",
            _ => "dnf",
        }
    }

    pub(crate) const ALL: [Self; 7] = [
        Self::AmazonLinux2,
        Self::AmazonLinux2023,
        Self::Ubuntu2204,
        Self::Rhel8,
        Self::Windows2019,
        Self::Windows2022,
        Self::Bottlerocket,
    ];

    /// After the names that the publishers give theirs.
    pub(crate) fn image_name(self) -> &'static str {
        match self {
            Self::AmazonLinux2 => "amzn2-ami-kernel-5.10-hvm-2.0.20251014.0-x86_64-gp2",
            Self::AmazonLinux2023 => "al2023-ami-2023.9.20251014.0-kernel-6.1-x86_64",
            Self::Windows2019 => "Windows_Server-2019-English-Full-Base-2025.10.15",
            Self::Windows2022 => "Windows_Server-2022-English-Full-Base-2025.10.15",
            Self::Ubuntu2204 => "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20251014",
            Self::Rhel8 => "RHEL-8.6.0_HVM-20251014-x86_64-0-Hourly2-GP3",
            Self::Bottlerocket => "bottlerocket-aws-ecs-2-x86_64-v1.19.2-29cc92cc",
        }
    }

    pub(crate) fn image(self) -> &'static str {
        match self {
            Self::AmazonLinux2 => "ami-0a12b34c56d78e9f0",
            Self::AmazonLinux2023 => "ami-0b23c45d67e89f0a1",
            Self::Windows2019 => "ami-0c34d56e78f90a1b2",
            Self::Windows2022 => "ami-0d45e67f89a01b2c3",
            Self::Ubuntu2204 => "ami-0e56f78a90b12c3d4",
            Self::Rhel8 => "ami-0f67a89b01c23d4e5",
            Self::Bottlerocket => "ami-0a78b90c12d34e5f6",
        }
    }
}
