// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// An ERC-20 that anyone may mint, with settable decimals and conversion rate, any of whose functions can be broken.
contract RigToken {
    string public name;
    string public symbol;
    uint256 public totalSupply;
    uint8 private places;
    uint256 private rate = 1e18;
    mapping(address => uint256) private balances;
    mapping(address => mapping(address => uint256)) public allowance;
    mapping(bytes4 => bool) public broken;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    modifier working() {
        require(!broken[msg.sig], "broken on purpose");
        _;
    }

    constructor(string memory symbol_, uint8 decimals_) {
        name = symbol_;
        symbol = symbol_;
        places = decimals_;
    }

    function setBroken(bytes4 selector, bool isBroken) external {
        broken[selector] = isBroken;
    }

    function setDecimals(uint8 decimals_) external {
        places = decimals_;
    }

    function setRate(uint256 rate_) external {
        rate = rate_;
    }

    function decimals() external view working returns (uint8) {
        return places;
    }

    function balanceOf(address owner) external view working returns (uint256) {
        return balances[owner];
    }

    function stEthPerToken() external view working returns (uint256) {
        return rate;
    }

    function getRate() external view working returns (uint256) {
        return rate;
    }

    function mint(address to, uint256 amount) external {
        totalSupply += amount;
        balances[to] += amount;
        emit Transfer(address(0), to, amount);
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        if (allowance[from][msg.sender] != type(uint256).max) allowance[from][msg.sender] -= amount;
        _move(from, to, amount);
        return true;
    }

    function _move(address from, address to, uint256 amount) private {
        balances[from] -= amount;
        balances[to] += amount;
        emit Transfer(from, to, amount);
    }
}

/// A price source for Aave's oracle whose answer anyone may set (8 decimals).
contract RigPrice {
    int256 public latestAnswer;
    uint8 public constant decimals = 8;

    constructor(int256 answer) {
        latestAnswer = answer;
    }

    function set(int256 answer) external {
        latestAnswer = answer;
    }
}

/// Receipts that have an owner, as both exit queues issue them.
abstract contract RigReceipts {
    mapping(uint256 => address) internal owners;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x80ac58cd || id == 0x01ffc9a7;
    }

    function _issue(uint256 id, address owner) internal {
        owners[id] = owner;
        balanceOf[owner] += 1;
        emit Transfer(address(0), owner, id);
    }

    function _burn(uint256 id) internal {
        address owner = owners[id];
        delete owners[id];
        balanceOf[owner] -= 1;
        emit Transfer(owner, address(0), id);
    }
}

/// The part of Lido's withdrawal queue that a reader of balances meets.
contract RigLidoQueue is RigReceipts {
    struct WithdrawalRequestStatus {
        uint256 amountOfStETH;
        uint256 amountOfShares;
        address owner;
        uint256 timestamp;
        bool isFinalized;
        bool isClaimed;
    }

    mapping(uint256 => WithdrawalRequestStatus) private requests;
    mapping(uint256 => uint256) private claimable;
    mapping(address => uint256[]) private owned;
    uint256 public getLastRequestId;
    uint256 public getLastCheckpointIndex;

    function request(address owner, uint256 amount) external returns (uint256 id) {
        id = ++getLastRequestId;
        requests[id] = WithdrawalRequestStatus(amount, amount, owner, block.timestamp, false, false);
        owned[owner].push(id);
        _issue(id, owner);
    }

    function finalize(uint256 id, uint256 amount) external {
        requests[id].isFinalized = true;
        claimable[id] = amount;
        getLastCheckpointIndex = 1;
    }

    function claim(uint256 id) external {
        requests[id].isClaimed = true;
        uint256[] storage ids = owned[requests[id].owner];
        for (uint256 i = 0; i < ids.length; i++) {
            if (ids[i] == id) {
                ids[i] = ids[ids.length - 1];
                ids.pop();
                break;
            }
        }
        _burn(id);
    }

    function getWithdrawalRequests(address owner) external view returns (uint256[] memory) {
        return owned[owner];
    }

    function getWithdrawalStatus(uint256[] calldata ids) external view returns (WithdrawalRequestStatus[] memory all) {
        all = new WithdrawalRequestStatus[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) all[i] = requests[ids[i]];
    }

    function findCheckpointHints(
        uint256[] calldata ids,
        uint256 first,
        uint256 last
    ) external view returns (uint256[] memory hints) {
        require(first >= 1 && last <= getLastCheckpointIndex, "range");
        hints = new uint256[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            require(i == 0 || ids[i] > ids[i - 1], "unsorted");
            hints[i] = requests[ids[i]].isFinalized ? 1 : 0;
        }
    }

    function getClaimableEther(
        uint256[] calldata ids,
        uint256[] calldata hints
    ) external view returns (uint256[] memory amounts) {
        amounts = new uint256[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            require(hints[i] == 1, "hint");
            amounts[i] = requests[ids[i]].isClaimed ? 0 : claimable[ids[i]];
        }
    }
}

/// The part of EtherFi's withdrawal requests that a reader of balances meets: nothing lists the ids of an owner.
contract RigEtherFiQueue is RigReceipts {
    struct WithdrawRequest {
        uint96 amountOfEEth;
        uint96 shareOfEEth;
        bool isValid;
        uint32 feeGwei;
    }

    mapping(uint256 => WithdrawRequest) public getRequest;
    mapping(uint256 => uint256) private claimable;
    mapping(uint256 => bool) public isFinalized;
    uint256 public nextRequestId = 1;

    function request(address owner, uint96 amount) external returns (uint256 id) {
        id = nextRequestId++;
        getRequest[id] = WithdrawRequest(amount, amount, true, 0);
        _issue(id, owner);
    }

    function finalize(uint256 id, uint256 amount) external {
        isFinalized[id] = true;
        claimable[id] = amount;
    }

    function claim(uint256 id) external {
        delete getRequest[id];
        _burn(id);
    }

    function ownerOf(uint256 id) public view returns (address owner) {
        owner = owners[id];
        require(owner != address(0), "ERC721: invalid token ID");
    }

    function getClaimableAmount(uint256 id) external view returns (uint256) {
        require(isFinalized[id], "Request is not finalized");
        require(ownerOf(id) != address(0), "Already claimed");
        return claimable[id];
    }
}

/// The part of Aave's rewards controller that tokens call and a reader of claims asks.
contract RigRewards {
    address[] private rewards;
    mapping(address => mapping(address => uint256)) private claimable;

    function handleAction(address, uint256, uint256) external {}

    function setClaim(address user, address reward, uint256 amount) external {
        rewards.push(reward);
        claimable[user][reward] = amount;
    }

    function getAllUserRewards(
        address[] calldata,
        address user
    ) external view returns (address[] memory list, uint256[] memory amounts) {
        list = rewards;
        amounts = new uint256[](list.length);
        for (uint256 i = 0; i < list.length; i++) amounts[i] = claimable[user][list[i]];
    }
}
